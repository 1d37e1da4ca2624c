/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main - seeds, one after the other, in processes of their own.
 *
 * A worker process runs seeds and counts in shared memory. When one fails or
 * crashes it ends; the parent says which seed it was and starts another one
 * behind it. With --seed there is one process, so that a debugger can follow.
 */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

#define JOBS_MAX 64
/* Exit status of a process whose seed failed; a sanitizer's is another. */
#define JOB_SAID_WHY 3

struct options {
	uint64_t from, count;
	int class; /* -1: by the seed */
	uint32_t kill_every; /* steps; 0: as the class has it */
	int jobs;
	double minutes; /* 0: no limit */
	bool single, verbose, keep_going, summary;
	const char *pcap;
};

/* What the processes share. */
struct shared {
	uint64_t seed[JOBS_MAX]; /* at work on */
	uint64_t sim[JOBS_MAX][SIM_COUNT];
	uint64_t stack[JOBS_MAX][SC_COUNT];
	uint64_t worker[JOBS_MAX][WC_COUNT];
};

static struct shared *shared;

static const char *const sim_names[] = {
#define C(name) #name,
	SIM_COUNTERS(C)
#undef C
};

static const char *const stack_names[] = {
#define C(name, help) #name,
	STACK_COUNTERS(C)
#undef C
};

static const char *const worker_names[] = {
#define C(name, help) #name,
	WORKER_COUNTERS(C)
#undef C
};

static void print_again(uint64_t seed, const struct options *o)
{
	printf("  again: tests/sim/run --seed %llu", (unsigned long long)seed);
	if (o->class >= 0)
		printf(" --class %s",
		       scenario_class_name((enum sim_class)o->class));
	if (o->kill_every)
		printf(" --kill-every %u", o->kill_every);
	puts(" --verbose");
}

static void report_failure(const struct world *w, const struct options *o)
{
	printf("seed %llu failed after %.6f s: %s\n",
	       (unsigned long long)w->sc.seed,
	       (double)(w->now_us - w->sc.start_us) / 1e6, w->reason);
	scenario_print(w, stdout);
	print_again(w->sc.seed, o);
	fflush(stdout);
}

static void count_up(const struct world *w, int job)
{
	for (int i = 0; i < SIM_COUNT; i++)
		shared->sim[job][i] += w->counts[i];
	for (int i = 0; i < SC_COUNT; i++)
		shared->stack[job][i] += w->sum_stack[i];
	for (int i = 0; i < WC_COUNT; i++)
		shared->worker[job][i] += w->sum_worker[i];
}

/* Returns whether the seed is good. */
static bool run_seed(uint64_t seed, const struct options *o, int job)
{
	struct world *w = calloc(1, sizeof(*w));
	bool good;

	shared->seed[job] = seed;
	scenario_draw(&w->sc, seed, o->class, o->kill_every);
	w->verbose = o->verbose;
	if (o->pcap)
		trace_pcap_open(w, o->pcap);
	good = world_run(w);
	if (w->pcap)
		fclose(w->pcap);
	if (good)
		count_up(w, job);
	else
		report_failure(w, o);
	/* After a failure things are left as they are: the process ends. */
	if (good)
		free(w);
	return good;
}

static bool time_is_up(const struct options *o, time_t start)
{
	return o->minutes > 0 && difftime(time(NULL), start) > o->minutes * 60;
}

/* One process: its share of the seeds, from its first one on. */
static void job_run(const struct options *o, int job, uint64_t from,
		    time_t start)
{
	uint64_t end = o->from + o->count;

	for (uint64_t seed = from; seed < end; seed += (uint64_t)o->jobs) {
		if (time_is_up(o, start))
			break;
		if (!run_seed(seed, o, job))
			_exit(JOB_SAID_WHY);
	}
	_exit(0);
}

static pid_t job_start(const struct options *o, int job, uint64_t from,
		       time_t start)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		job_run(o, job, from, start);
	if (pid < 0) {
		perror("fork");
		exit(2);
	}
	return pid;
}

static int job_of(const pid_t *pids, int n, pid_t pid)
{
	for (int i = 0; i < n; i++)
		if (pids[i] == pid)
			return i;
	return -1;
}

/* A process has ended. Returns whether its seed failed. */
static bool job_failed(const struct options *o, int job, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return false;
	if (WIFEXITED(status) && WEXITSTATUS(status) == JOB_SAID_WHY)
		return true;
	printf("seed %llu crashed: %s %d\n",
	       (unsigned long long)shared->seed[job],
	       WIFSIGNALED(status) ? "signal" : "exit status",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	print_again(shared->seed[job], o);
	return true;
}

static int run_jobs(const struct options *o)
{
	time_t start = time(NULL);
	pid_t pids[JOBS_MAX];
	int running = 0, failed = 0, status;

	for (int i = 0; i < o->jobs; i++, running++)
		pids[i] = job_start(o, i, o->from + (uint64_t)i, start);
	while (running > 0) {
		pid_t pid = wait(&status);
		int job = job_of(pids, o->jobs, pid);
		uint64_t next;

		if (pid < 0 || job < 0)
			continue;
		running--;
		if (!job_failed(o, job, status))
			continue;
		failed++;
		next = shared->seed[job] + (uint64_t)o->jobs;
		if (!o->keep_going) {
			for (int i = 0; i < o->jobs; i++)
				if (i != job && running)
					kill(pids[i], SIGTERM);
			break;
		}
		if (next < o->from + o->count) {
			pids[job] = job_start(o, job, next, start);
			running++;
		}
	}
	while (wait(&status) > 0)
		;
	return failed;
}

static uint64_t sum_of(const uint64_t *first, size_t stride, int i)
{
	uint64_t sum = 0;

	for (int job = 0; job < JOBS_MAX; job++)
		sum += first[(size_t)job * stride + (size_t)i];
	return sum;
}

static void print_summary(void)
{
	for (int i = 0; i < SIM_COUNT; i++)
		printf("sim %s %llu\n", sim_names[i],
		       (unsigned long long)sum_of(shared->sim[0], SIM_COUNT,
						  i));
	for (int i = 0; i < SC_COUNT; i++)
		printf("stack %s %llu\n", stack_names[i],
		       (unsigned long long)sum_of(shared->stack[0], SC_COUNT,
						  i));
	for (int i = 0; i < WC_COUNT; i++)
		printf("worker %s %llu\n", worker_names[i],
		       (unsigned long long)sum_of(shared->worker[0], WC_COUNT,
						  i));
}

static void usage(FILE *to)
{
	fputs("usage: sim [--seed N | --from A --count N] [options]\n"
	      "  --seed N       this one alone, in this process\n"
	      "  --from A       the first seed (1)\n"
	      "  --count N      how many (1000)\n"
	      "  --class NAME   clean, loss, reorder, mtu, hostile, death,\n"
	      "                 pools, modes, close, bulk, any or kill\n"
	      "  --kill-every N kill xtcpd every N steps, in any class\n"
	      "  --jobs J       processes at a time (1)\n"
	      "  --minutes M    start no seed after this time\n"
	      "  --keep-going   do not stop at the first failure\n"
	      "  --summary      print all counters at the end\n"
	      "  --verbose      a trace of packets and frames\n"
	      "  --pcap FILE    what the device would see\n",
	      to);
}

static void option_class(struct options *o, const char *name)
{
	o->class = scenario_class_by_name(name);
	if (o->class >= 0)
		return;
	fprintf(stderr, "sim: no class %s\n", name);
	exit(2);
}

static void parse_options(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "from", required_argument, NULL, 'f' },
		{ "count", required_argument, NULL, 'n' },
		{ "class", required_argument, NULL, 'c' },
		{ "kill-every", required_argument, NULL, 'K' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "minutes", required_argument, NULL, 'm' },
		{ "keep-going", no_argument, NULL, 'k' },
		{ "summary", no_argument, NULL, 'S' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "pcap", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "vkh", longs, NULL)) != -1) {
		switch (opt) {
		case 's':
			o->single = true;
			o->count = 1;
			/* fall through */
		case 'f':
			o->from = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			o->count = strtoull(optarg, NULL, 0);
			break;
		case 'c':
			option_class(o, optarg);
			break;
		case 'K':
			o->kill_every = (uint32_t)strtoul(optarg, NULL, 0);
			break;
		case 'j':
			o->jobs = atoi(optarg);
			break;
		case 'm':
			o->minutes = strtod(optarg, NULL);
			break;
		case 'k':
			o->keep_going = true;
			break;
		case 'S':
			o->summary = true;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'p':
			o->pcap = optarg;
			break;
		default:
			usage(opt == 'h' ? stdout : stderr);
			exit(opt == 'h' ? 0 : 2);
		}
	}
	if (o->jobs < 1 || o->jobs > JOBS_MAX)
		o->jobs = 1;
}

int main(int argc, char **argv)
{
	struct options o = { .from = 1, .count = 1000, .class = -1, .jobs = 1 };
	int failed;

	parse_options(&o, argc, argv);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	if (o.single)
		failed = !run_seed(o.from, &o, 0);
	else
		failed = run_jobs(&o);
	if (o.summary)
		print_summary();
	printf("%llu seeds good, %d failed\n",
	       (unsigned long long)sum_of(shared->sim[0], SIM_COUNT, SIM_seeds),
	       failed);
	return failed ? 1 : 0;
}
