/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replay - the main() of a fuzz target without libFuzzer.
 *
 *	fuzz_NAME FILE-OR-FOLDER...
 *	fuzz_NAME --random N [--seed S] [--max-len L] [FILE-OR-FOLDER...]
 *
 * The first form runs every file once, in the order of names. The second
 * makes N inputs from the seed and runs these: files with bytes changed, taken
 * out, put in and copied over from one another, or bytes by chance. It gives
 * builds without libFuzzer (gcc, TSan) something to do, and is no replacement.
 *
 * Before each input its bytes stand in a buffer of just its size, so that
 * reading beyond it is found. The file (or number) under way is told when the
 * process dies.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

#define REPLAY_INPUT_MAX (1u << 20)

struct replay_input {
	char *name;
	uint8_t *bytes;
	size_t size;
};

static struct replay_input *inputs;
static size_t n_inputs, cap_inputs;
static char under_way[512] = "nothing yet";
static uint64_t rng;

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

static void replay_on_death(int signo)
{
	static const char before[] = "replay: died at ", after[] = "\n";

	(void)!write(STDERR_FILENO, before, sizeof(before) - 1);
	(void)!write(STDERR_FILENO, under_way, strlen(under_way));
	(void)!write(STDERR_FILENO, after, sizeof(after) - 1);
	signal(signo, SIG_DFL);
	raise(signo);
}

static void replay_die(const char *what, const char *name)
{
	fprintf(stderr, "replay: %s: %s: %s\n", name, what, strerror(errno));
	exit(2);
}

/* --- inputs ------------------------------------------------------------ */

static void replay_load(const char *name)
{
	FILE *fp = fopen(name, "rb");
	uint8_t *bytes = malloc(REPLAY_INPUT_MAX);
	size_t n;

	if (!fp || !bytes)
		replay_die("cannot be read", name);
	n = fread(bytes, 1, REPLAY_INPUT_MAX, fp);
	if (ferror(fp))
		replay_die("cannot be read", name);
	fclose(fp);
	if (n_inputs == cap_inputs) {
		cap_inputs = cap_inputs ? 2 * cap_inputs : 256;
		inputs = realloc(inputs, cap_inputs * sizeof(*inputs));
	}
	if (!inputs)
		replay_die("no memory", name);
	inputs[n_inputs++] = (struct replay_input){ strdup(name), bytes, n };
	bytes = realloc(bytes, n ? n : 1);
	if (bytes)
		inputs[n_inputs - 1].bytes = bytes;
}

static void replay_load_folder(const char *name)
{
	struct dirent **list;
	char path[4096];
	int n = scandir(name, &list, NULL, alphasort);

	if (n < 0)
		replay_die("cannot be read", name);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", name, list[i]->d_name);
		if (list[i]->d_name[0] != '.')
			replay_load(path);
		free(list[i]);
	}
	free(list);
}

static void replay_load_any(const char *name)
{
	struct stat st;

	if (stat(name, &st) < 0)
		replay_die("cannot be read", name);
	if (S_ISDIR(st.st_mode))
		replay_load_folder(name);
	else
		replay_load(name);
}

static void replay_fini(void)
{
	for (size_t i = 0; i < n_inputs; i++) {
		free(inputs[i].name);
		free(inputs[i].bytes);
	}
	free(inputs);
}

/* --- inputs by chance -------------------------------------------------- */

static uint32_t replay_any(uint32_t n)
{
	/* splitmix64 */
	uint64_t z = rng += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return (uint32_t)((z >> 32) * n >> 32);
}

static uint8_t replay_byte(void)
{
	static const uint8_t often[] = { 0, 1, 2, 4, 8, 16, 0x7f, 0x80, 0xff };

	return replay_any(3) ? (uint8_t)replay_any(256)
			     : often[replay_any(sizeof(often))];
}

/* One change to the size bytes in buf of max; returns the new size. */
static size_t replay_change(uint8_t *buf, size_t size, size_t max)
{
	size_t at = size ? replay_any((uint32_t)size) : 0, n;
	const struct replay_input *from;

	switch (replay_any(4)) {
	case 0: /* out */
		n = size - at ? replay_any((uint32_t)(size - at) + 1) : 0;
		memmove(buf + at, buf + at + n, size - at - n);
		return size - n;
	case 1: /* in */
		if (size == max)
			return size;
		memmove(buf + at + 1, buf + at, size - at);
		buf[at] = replay_byte();
		return size + 1;
	case 2: /* from another one */
		from = n_inputs ? &inputs[replay_any((uint32_t)n_inputs)]
				: NULL;
		if (!from || from->size == 0)
			return size;
		n = replay_any((uint32_t)from->size) + 1;
		n = n > max - at ? max - at : n;
		memcpy(buf + at, from->bytes + (from->size - n) % from->size,
		       n);
		return at + n > size ? at + n : size;
	default:
		if (size)
			buf[at] = replay_byte();
		return size;
	}
}

static size_t replay_make(uint8_t *buf, size_t max)
{
	const struct replay_input *from =
		n_inputs ? &inputs[replay_any((uint32_t)n_inputs)] : NULL;
	size_t size = 0;

	if (from && replay_any(8)) {
		size = from->size < max ? from->size : max;
		memcpy(buf, from->bytes, size);
		for (uint32_t i = replay_any(8) + 1; i > 0; i--)
			size = replay_change(buf, size, max);
		return size;
	}
	size = replay_any((uint32_t)max + 1);
	for (size_t i = 0; i < size; i++)
		buf[i] = replay_byte();
	return size;
}

/* --- running ----------------------------------------------------------- */

static void replay_run(const uint8_t *bytes, size_t size)
{
	uint8_t *exact = malloc(size ? size : 1);

	if (!exact)
		replay_die("no memory", under_way);
	if (size)
		memcpy(exact, bytes, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
}

static void replay_files(void)
{
	for (size_t i = 0; i < n_inputs; i++) {
		snprintf(under_way, sizeof(under_way), "%s", inputs[i].name);
		replay_run(inputs[i].bytes, inputs[i].size);
	}
	printf("replay: %zu files\n", n_inputs);
}

static void replay_random(uint64_t n, uint64_t seed, size_t max)
{
	uint8_t *buf = malloc(max ? max : 1);

	if (!buf)
		replay_die("no memory", "--max-len");
	for (uint64_t i = 0; i < n; i++) {
		/* each has a seed of its own, to be run alone */
		rng = seed + i;
		snprintf(under_way, sizeof(under_way),
			 "--random 1 --seed %llu --max-len %zu",
			 (unsigned long long)(seed + i), max);
		replay_run(buf, replay_make(buf, max));
	}
	free(buf);
	printf("replay: %llu inputs from seed %llu\n", (unsigned long long)n,
	       (unsigned long long)seed);
}

int main(int argc, char **argv)
{
	uint64_t random_n = 0, seed = 1;
	size_t max = 512;

	signal(SIGABRT, replay_on_death);
	signal(SIGSEGV, replay_on_death);
	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "0";

		if (strcmp(argv[i], "--random") == 0)
			random_n = strtoull(value, NULL, 0), i++;
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(value, NULL, 0), i++;
		else if (strcmp(argv[i], "--max-len") == 0)
			max = strtoul(value, NULL, 0), i++;
		else
			replay_load_any(argv[i]);
	}
	if (random_n)
		replay_random(random_n, seed, max);
	else
		replay_files();
	replay_fini();
	return 0;
}
