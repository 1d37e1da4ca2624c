/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * top - xtcpctl top: what xtcpd does, live.
 *
 * Theory of operation
 *
 *	look(): client ─> top_sample ─> top_view ─> top_page ─> screen or pipe
 *
 * A look is due each interval. On a terminal the time until then is spent in
 * getch(), which also returns when the window changes (KEY_RESIZE) or a signal
 * comes; in batch mode it is slept.
 *
 * When xtcpd is gone the last page stays, under a line that says so, and each
 * further look tries to connect again; the first look after its return has the
 * rates since its start. At the beginning it is an error.
 *
 * I1: nobody waits for xtcpd longer than TOP_TIMEOUT_S: a key is answered
 *     by then, even if xtcpd is stopped.
 * I2: what the terminal is told is ASCII that top_view.c has looked at.
 */
#include "ctl/top.h"

#include <curses.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <term.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"
#include "ctl/top_draw.h"
#include "ctl/top_view.h"

#define TOP_TIMEOUT_S 2u
#define TOP_INTERVAL_S 2.0
#define TOP_INTERVAL_MIN_S 0.1
#define TOP_INTERVAL_MAX_S 3600.0
#define TOP_BATCH_WIDTH 132u

enum top_exit { TOP_OK, TOP_FAILED, TOP_USAGE };

const char top_help[] =
	"options of \"top\":\n"
	"  -d, --delay SECONDS     interval, 0.1 to 3600 [2]\n"
	"  -n, --iterations N      so many looks, then end\n"
	"  -b, --batch             plain text, one page after the other\n"
	"      --sort KEY          name, connections, messages, bytes, latency,\n"
	"                          waiting [messages]\n";

struct top {
	const char *path;
	struct top_settings settings;
	long iterations; /* 0: no end */
	bool batch;
	struct client *client; /* NULL: not connected */
	struct top_sample before; /* empty: none yet */
	struct top_view view; /* the latest */
	bool looked; /* there is a view */
	char gone[512]; /* why there is no answer; "": there is */
	bool help, quit;
};

static volatile sig_atomic_t top_signal;

static void top_on_signal(int sig)
{
	top_signal = sig;
}

/* --- looking ----------------------------------------------------------- */

static void top_lost(struct top *t, int err)
{
	if (err != -EREMOTEIO)
		client_explain(t->path, err, t->gone, sizeof(t->gone));
	client_close(t->client);
	t->client = NULL;
}

/* Returns 0, or a negative errno and why in t->gone. */
static int top_look(struct top *t)
{
	struct top_sample now;
	struct top_view view;
	int rc = 0;

	if (!t->client)
		rc = client_open(&t->client, t->path, TOP_TIMEOUT_S);
	if (rc == 0)
		rc = top_sample_take(&now, t->client, t->gone, sizeof(t->gone));
	if (rc < 0) {
		top_lost(t, rc);
		return rc;
	}
	t->gone[0] = '\0';
	rc = top_view_make(&view, &t->before, &now, t->settings.sort,
			   t->settings.reverse);
	if (rc == 0) {
		top_view_free(&t->view);
		t->view = view;
		t->looked = true;
	}
	top_sample_free(&t->before);
	t->before = now;
	return rc;
}

static int top_page_fill(struct top *t, struct top_page *page,
			 unsigned int width, size_t height)
{
	int rc = top_page_init(page, width, height);

	if (rc < 0)
		return rc;
	if (t->gone[0] != '\0')
		top_page_add(page, TOP_ALARM, "xtcpd is gone: %s", t->gone);
	if (t->help)
		top_draw_help(page);
	else if (t->looked)
		top_draw(page, &t->view, &t->settings);
	return 0;
}

/* --- batch ------------------------------------------------------------- */

/* Returns false when a signal came first. */
static bool top_sleep(double seconds)
{
	struct timespec ts = { .tv_sec = (time_t)seconds };

	ts.tv_nsec =
		(long)((seconds - (double)ts.tv_sec) * (double)NSEC_PER_SEC);
	while (!top_signal && nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
	return !top_signal;
}

static int top_batch_page(struct top *t)
{
	struct top_page page;
	int rc = top_page_fill(t, &page, TOP_BATCH_WIDTH, TOP_LINES_MAX);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < page.n; i++)
		printf("%s\n", page.rows[i].text);
	printf("\n");
	top_page_fini(&page);
	return fflush(stdout) == 0 ? 0 : -errno;
}

static int top_batch(struct top *t)
{
	long left = t->iterations;

	/* the first look is what the rates begin with */
	while (top_sleep(t->settings.interval_s)) {
		(void)top_look(t);
		if (top_batch_page(t) < 0) {
			if (errno == EPIPE)
				return TOP_OK;
			fprintf(stderr, "xtcpctl: standard output: %s\n",
				strerror(errno));
			return TOP_FAILED;
		}
		if (left && --left == 0)
			break;
	}
	return TOP_OK;
}

/* --- the terminal ------------------------------------------------------ */

static void top_show(struct top *t)
{
	static const attr_t looks[] = {
		[TOP_PLAIN] = A_NORMAL,
		[TOP_HEADING] = A_REVERSE,
		[TOP_ALARM] = A_BOLD,
	};
	struct top_page page;

	if (top_page_fill(t, &page, (unsigned int)COLS, (size_t)LINES) < 0)
		return;
	erase();
	for (size_t i = 0; i < page.n; i++) {
		const struct top_line *line = &page.rows[i];

		(void)attrset((int)looks[line->look]);
		if (line->look == TOP_HEADING)
			mvprintw((int)i, 0, "%-*.*s", COLS, COLS, line->text);
		else
			mvaddnstr((int)i, 0, line->text, COLS);
	}
	(void)attrset(A_NORMAL);
	move(LINES - 1, 0);
	refresh();
	top_page_fini(&page);
}

static void top_set_interval(struct top *t, double seconds)
{
	t->settings.interval_s =
		fmin(fmax(seconds, TOP_INTERVAL_MIN_S), TOP_INTERVAL_MAX_S);
}

/* Returns whether to look at xtcpd now. */
static bool top_key(struct top *t, int key)
{
	static const struct {
		int key;
		enum top_sort sort;
	} sorts[] = {
		{ 'n', TOP_BY_NAME },	  { 'c', TOP_BY_CONNECTIONS },
		{ 'm', TOP_BY_MESSAGES }, { 'b', TOP_BY_BYTES },
		{ 'l', TOP_BY_LATENCY },  { 'w', TOP_BY_WAITING },
	};

	for (size_t i = 0; i < sizeof(sorts) / sizeof(sorts[0]); i++)
		if (sorts[i].key == key)
			t->settings.sort = sorts[i].sort;
	switch (key) {
	case 'r':
		t->settings.reverse = !t->settings.reverse;
		break;
	case '+':
		top_set_interval(t, t->settings.interval_s * 2);
		break;
	case '-':
		top_set_interval(t, t->settings.interval_s / 2);
		break;
	case 'h':
	case '?':
		t->help = !t->help;
		break;
	case 'q':
	case 'Q':
		t->quit = true;
		break;
	case ' ':
		return true;
	default:
		break;
	}
	if (t->looked)
		top_view_sort(&t->view, t->settings.sort, t->settings.reverse);
	return false;
}

static double top_now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Keys until the next look is due. */
static void top_wait(struct top *t)
{
	double due = top_now_s() + t->settings.interval_s, left;
	int key;

	while (!t->quit && !top_signal && (left = due - top_now_s()) > 0) {
		timeout((int)fmin(left * 1000 + 1, 60000));
		key = getch();
		if (key == ERR && !isatty(STDIN_FILENO)) {
			t->quit = true;
			return;
		}
		if (key == ERR)
			continue;
		if (top_key(t, key))
			return;
		due = fmin(due, top_now_s() + t->settings.interval_s);
		top_show(t);
	}
}

static void top_interactive(struct top *t)
{
	long left = t->iterations;

	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	while (!t->quit && !top_signal) {
		top_show(t);
		if (left && --left == 0)
			break;
		top_wait(t);
		if (!t->quit && !top_signal)
			(void)top_look(t);
	}
}

/* Can the cursor be moved? */
static bool top_terminal_is_able(void)
{
	int err;

	return setupterm(NULL, STDOUT_FILENO, &err) == OK &&
	       cursor_address != NULL && clear_screen != NULL;
}

static int top_screen(struct top *t)
{
	SCREEN *screen = newterm(NULL, stdout, stdin);

	if (!screen) {
		fprintf(stderr, "xtcpctl: this terminal can't be used: try "
				"top --batch\n");
		return TOP_FAILED;
	}
	top_interactive(t);
	endwin();
	delscreen(screen);
	return TOP_OK;
}

/* --- the command ------------------------------------------------------- */

static int top_usage(const char *what, const char *value)
{
	fprintf(stderr, "xtcpctl: top: %s%s%s; try: xtcpctl --help\n", what,
		value ? " " : "", value ? value : "");
	return TOP_USAGE;
}

static bool top_parse_number(const char *text, double min, double max,
			     double *ret_value)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end != '\0' || !(v >= min && v <= max))
		return false;
	*ret_value = v;
	return true;
}

/* Returns -1 to go on, else what to exit with. */
static int top_option(struct top *t, int c)
{
	double n;

	switch (c) {
	case 'd':
		if (!top_parse_number(optarg, TOP_INTERVAL_MIN_S,
				      TOP_INTERVAL_MAX_S,
				      &t->settings.interval_s))
			return top_usage("--delay is from 0.1 to 3600 seconds, "
					 "not",
					 optarg);
		return -1;
	case 'n':
		if (!top_parse_number(optarg, 1, 1e9, &n) || n != floor(n))
			return top_usage("--iterations is a number from 1 on, "
					 "not",
					 optarg);
		t->iterations = (long)n;
		return -1;
	case 'b':
		t->batch = true;
		return -1;
	case 'S':
		if (top_sort_find(optarg, &t->settings.sort) < 0)
			return top_usage("--sort is one of name, connections, "
					 "messages, bytes, latency, waiting, "
					 "not",
					 optarg);
		return -1;
	default:
		fputs("try: xtcpctl --help\n", stderr);
		return TOP_USAGE;
	}
}

static int top_parse(struct top *t, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "delay", required_argument, NULL, 'd' },
		{ "iterations", required_argument, NULL, 'n' },
		{ "batch", no_argument, NULL, 'b' },
		{ "sort", required_argument, NULL, 'S' },
		{ 0 },
	};
	static char name[] = "xtcpctl: top"; /* getopt_long() complains so */
	int c, rc;

	argv[0] = name;
	optind = 0;
	while ((c = getopt_long(argc, argv, "d:n:b", longs, NULL)) != -1) {
		rc = top_option(t, c);
		if (rc >= 0)
			return rc;
	}
	if (optind < argc)
		return top_usage("unexpected argument", argv[optind]);
	if (!t->batch && !isatty(STDOUT_FILENO))
		return top_usage("standard output is no terminal: use --batch",
				 NULL);
	return -1;
}

static void top_signals(void)
{
	struct sigaction act = { .sa_handler = top_on_signal };

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
	act.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &act, NULL);
}

int top_run(const char *path, int argc, char **argv)
{
	struct top t = {
		.path = path,
		.settings = { .sort = TOP_BY_MESSAGES,
			      .interval_s = TOP_INTERVAL_S },
	};
	int rc = top_parse(&t, argc, argv);

	if (rc >= 0)
		return rc;
	if (!t.batch && !top_terminal_is_able()) {
		fprintf(stderr, "xtcpctl: this terminal is not able to show a "
				"page in place: going on as with --batch\n");
		t.batch = true;
	}
	top_signals();
	if (top_look(&t) < 0) {
		fprintf(stderr, "xtcpctl: %s\n", t.gone);
		rc = TOP_FAILED;
	} else {
		rc = t.batch ? top_batch(&t) : top_screen(&t);
	}
	client_close(t.client);
	top_sample_free(&t.before);
	top_view_free(&t.view);
	return rc;
}
