/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/counters.h"

#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "daemon/snapshot.h"

static const struct {
	const char *name, *help;
} counter_table[] = {
#define C(name, help) { #name, help },
	STACK_COUNTERS(C) WORKER_COUNTERS(C)
#undef C
};

static_assert(ARRAY_SIZE(counter_table) == SC_COUNT + WC_COUNT,
	      "both tables, stack's first");

const char *counter_name(uint32_t i)
{
	return i < ARRAY_SIZE(counter_table) ? counter_table[i].name : NULL;
}

const char *counter_help(uint32_t i)
{
	return i < ARRAY_SIZE(counter_table) ? counter_table[i].help : NULL;
}

int counter_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(counter_table); i++)
		if (strcmp(counter_table[i].name, name) == 0)
			return (int)i;
	return -1;
}
