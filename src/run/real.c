/* SPDX-License-Identifier: BSD-2-Clause */
#include "run/real.h"

#include <dlfcn.h>
#include <string.h>

struct real real_functions;
bool real_ready;

/* A function's address as a function pointer, which C can't convert to. */
static void real_find(const char *name, void *ret_pointer)
{
	void *address = dlsym(RTLD_NEXT, name);

	memcpy(ret_pointer, &address, sizeof(address));
}

/* Idempotent, so two threads may do it at once. */
void real_init(void)
{
#define F(name) real_find(#name, &real_functions.name);
	REAL_FUNCTIONS(F)
#undef F
	__atomic_store_n(&real_ready, true, __ATOMIC_RELEASE);
}
