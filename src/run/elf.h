/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_ELF_H
#define XTCP_RUN_ELF_H

/* Whether a preload library reaches a program. */

#include <stddef.h>
#include <stdint.h>

enum elf_verdict {
	ELF_FINE,
	ELF_NOT_ELF, /* a script, or nothing that can be run */
	ELF_BROKEN,
	ELF_FOREIGN, /* for another kind of machine */
	ELF_STATIC, /* nothing is loaded into it */
	ELF_NO_LIBC, /* it doesn't use the GNU C library */
	ELF_GO, /* its run-time makes system calls itself */
};

/*
 * Judges the file image of n bytes. machine is e_machine of a program that runs
 * here, of our own word size. Any bytes are safe to be given.
 */
enum elf_verdict elf_judge(const uint8_t *image, size_t n, uint16_t machine);

/* e_machine of an image, or 0. */
uint16_t elf_machine(const uint8_t *image, size_t n);

/* A sentence for people about a verdict other than ELF_FINE. */
const char *elf_verdict_text(enum elf_verdict v);

#endif
