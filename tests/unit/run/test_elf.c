/* SPDX-License-Identifier: BSD-2-Clause */
/* Which programs a preload library reaches, by images made here. */
#include "run/elf.h"

#include <elf.h>
#include <link.h>
#include <string.h>

#include "unit/unit.h"

#define MACHINE 0x1234
#define BASE 0x400000u

enum {
	AT_PHDRS = 0x100,
	AT_DYNAMIC = 0x300,
	AT_STRINGS = 0x400,
	AT_NOTE = 0x500,
	IMAGE_BYTES = 0x600,
};

static _Alignas(16) uint8_t image[IMAGE_BYTES];
static unsigned int n_phdrs;

static void put(size_t at, const void *what, size_t n)
{
	ck_assert_uint_le(at + n, sizeof(image));
	memcpy(image + at, what, n);
}

static void add_segment(uint32_t type, size_t at, size_t n)
{
	const ElfW(Phdr) ph = {
		.p_type = type,
		.p_offset = at,
		.p_vaddr = BASE + at,
		.p_filesz = n,
	};
	ElfW(Ehdr) header;

	put(AT_PHDRS + n_phdrs * sizeof(ph), &ph, sizeof(ph));
	memcpy(&header, image, sizeof(header));
	header.e_phnum = (ElfW(Half))++ n_phdrs;
	put(0, &header, sizeof(header));
}

/* A program that is fine, linked with that library. */
static void make(const char *library)
{
	const ElfW(Ehdr) header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3,
			     sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32 },
		.e_machine = MACHINE,
		.e_phoff = AT_PHDRS,
		.e_phentsize = sizeof(ElfW(Phdr)),
	};
	const ElfW(Dyn) dynamic[] = {
		{ .d_tag = DT_NEEDED, .d_un.d_val = 1 },
		{ .d_tag = DT_STRTAB, .d_un.d_ptr = BASE + AT_STRINGS },
		{ .d_tag = DT_NULL },
	};

	memset(image, 0, sizeof(image));
	n_phdrs = 0;
	put(0, &header, sizeof(header));
	put(AT_DYNAMIC, dynamic, sizeof(dynamic));
	put(AT_STRINGS + 1, library, strlen(library) + 1);
	add_segment(PT_LOAD, 0, sizeof(image));
	add_segment(PT_INTERP, AT_STRINGS, 4);
	add_segment(PT_DYNAMIC, AT_DYNAMIC, sizeof(dynamic));
}

static enum elf_verdict judge(void)
{
	return elf_judge(image, sizeof(image), MACHINE);
}

START_TEST(test_elf_with_libc_is_fine)
{
	make("libc.so.6");
	ck_assert_int_eq(judge(), ELF_FINE);
	ck_assert_uint_eq(elf_machine(image, sizeof(image)), MACHINE);
}
END_TEST

START_TEST(test_elf_without_libc_is_refused)
{
	make("libc.musl-x86_64.so.1");
	ck_assert_int_eq(judge(), ELF_NO_LIBC);
	make("libc.so.66");
	ck_assert_int_eq(judge(), ELF_NO_LIBC);
}
END_TEST

START_TEST(test_elf_without_interpreter_is_static)
{
	make("libc.so.6");
	((ElfW(Phdr) *)(void *)(image + AT_PHDRS))[1].p_type = PT_NULL;
	ck_assert_int_eq(judge(), ELF_STATIC);
	make("libc.so.6");
	((ElfW(Phdr) *)(void *)(image + AT_PHDRS))[2].p_type = PT_NULL;
	ck_assert_int_eq(judge(), ELF_STATIC);
}
END_TEST

START_TEST(test_elf_of_go_is_known_by_its_note)
{
	const struct {
		ElfW(Nhdr) note;
		char name[4];
	} go = { { .n_namesz = 4, .n_descsz = 4, .n_type = 4 }, "Go" },
	  gnu = { { .n_namesz = 4, .n_descsz = 4, .n_type = 1 }, "GNU" };

	make("libc.so.6");
	put(AT_NOTE, &gnu, sizeof(gnu));
	add_segment(PT_NOTE, AT_NOTE, sizeof(gnu));
	ck_assert_int_eq(judge(), ELF_FINE);
	put(AT_NOTE, &go, sizeof(go));
	ck_assert_int_eq(judge(), ELF_GO);
}
END_TEST

START_TEST(test_elf_of_another_machine_is_foreign)
{
	make("libc.so.6");
	ck_assert_int_eq(elf_judge(image, sizeof(image), MACHINE + 1),
			 ELF_FOREIGN);
	image[EI_CLASS] ^= 3;
	ck_assert_int_eq(judge(), ELF_FOREIGN);
}
END_TEST

START_TEST(test_what_is_not_elf_is_told)
{
	make("libc.so.6");
	ck_assert_int_eq(elf_judge(image, 3, MACHINE), ELF_NOT_ELF);
	ck_assert_int_eq(elf_judge(image, 30, MACHINE), ELF_BROKEN);
	ck_assert_uint_eq(elf_machine(image, 30), 0);
	image[1] = 'X';
	ck_assert_int_eq(judge(), ELF_NOT_ELF);
}
END_TEST

/* Cut anywhere and with any byte changed, it is judged, not read beyond. */
START_TEST(test_damage_is_survived)
{
	for (size_t n = 0; n < sizeof(image); n++) {
		uint8_t *copy = malloc(n + 1);

		make("libc.so.6");
		memcpy(copy, image, n);
		ck_assert_ptr_nonnull(
			elf_verdict_text(elf_judge(copy, n, MACHINE)));
		free(copy);
		for (int bit = 0; bit < 8; bit++) {
			make("libc.so.6");
			image[n] ^= (uint8_t)(1 << bit);
			ck_assert_ptr_nonnull(elf_verdict_text(judge()));
		}
		image[n] = 0xff;
		(void)judge();
	}
}
END_TEST

UNIT_MAIN("run/elf",
	  UNIT_TESTS(test_elf_with_libc_is_fine,
		     test_elf_without_libc_is_refused,
		     test_elf_without_interpreter_is_static,
		     test_elf_of_go_is_known_by_its_note,
		     test_elf_of_another_machine_is_foreign,
		     test_what_is_not_elf_is_told, test_damage_is_survived))
