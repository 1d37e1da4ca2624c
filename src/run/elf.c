/* SPDX-License-Identifier: BSD-2-Clause */
#include "run/elf.h"

#include <elf.h>
#include <link.h>
#include <string.h>

#include "base/bytes.h"

/* A view of the file; what is beyond its end is NULL. */
struct elf_image {
	const uint8_t *bytes;
	size_t n;
	ElfW(Ehdr) header;
};

static const void *elf_at(const struct elf_image *e, uint64_t offset,
			  uint64_t len)
{
	if (offset > e->n || len > e->n - offset)
		return NULL;
	return e->bytes + offset;
}

/* Program header i into ret; false at the end or beyond the file. */
static bool elf_segment(const struct elf_image *e, unsigned int i,
			ElfW(Phdr) * ret)
{
	const void *p;

	if (i >= e->header.e_phnum)
		return false;
	p = elf_at(e, e->header.e_phoff + (uint64_t)i * sizeof(*ret),
		   sizeof(*ret));
	if (!p)
		return false;
	memcpy(ret, p, sizeof(*ret));
	return true;
}

static bool elf_find_segment(const struct elf_image *e, uint32_t type,
			     ElfW(Phdr) * ret)
{
	for (unsigned int i = 0; elf_segment(e, i, ret); i++) {
		if (ret->p_type == type)
			return true;
	}
	return false;
}

/* The file's bytes at a virtual address, to the end of its segment. */
static const char *elf_at_address(const struct elf_image *e, uint64_t address,
				  size_t *ret_n)
{
	ElfW(Phdr) ph;

	for (unsigned int i = 0; elf_segment(e, i, &ph); i++) {
		if (ph.p_type != PT_LOAD || address < ph.p_vaddr ||
		    address - ph.p_vaddr >= ph.p_filesz)
			continue;
		*ret_n = ph.p_filesz - (size_t)(address - ph.p_vaddr);
		return elf_at(e, ph.p_offset + (address - ph.p_vaddr), *ret_n);
	}
	return NULL;
}

/* --- what it is linked with --- */

/* Dynamic entry i of the segment; false at the end. */
static bool elf_dynamic(const struct elf_image *e, const ElfW(Phdr) * ph,
			size_t i, ElfW(Dyn) * ret)
{
	const void *p;

	if (i >= ph->p_filesz / sizeof(*ret))
		return false;
	p = elf_at(e, ph->p_offset + (uint64_t)i * sizeof(*ret), sizeof(*ret));
	if (!p)
		return false;
	memcpy(ret, p, sizeof(*ret));
	return ret->d_tag != DT_NULL;
}

static bool elf_needs(const struct elf_image *e, const ElfW(Phdr) * ph,
		      const char *library)
{
	size_t len = strlen(library) + 1, n = 0;
	const char *strings = NULL;
	ElfW(Dyn) d;

	for (size_t i = 0; elf_dynamic(e, ph, i, &d); i++) {
		if (d.d_tag == DT_STRTAB)
			strings = elf_at_address(e, d.d_un.d_ptr, &n);
	}
	for (size_t i = 0; strings && elf_dynamic(e, ph, i, &d); i++) {
		if (d.d_tag == DT_NEEDED && d.d_un.d_val < n &&
		    n - d.d_un.d_val >= len &&
		    memcmp(strings + d.d_un.d_val, library, len) == 0)
			return true;
	}
	return false;
}

/* The Go linker leaves a note of its own. */
static bool elf_is_go(const struct elf_image *e)
{
	const ElfW(Nhdr) * p;
	ElfW(Nhdr) note;
	ElfW(Phdr) ph;

	for (unsigned int i = 0; elf_segment(e, i, &ph); i++) {
		if (ph.p_type != PT_NOTE)
			continue;
		p = elf_at(e, ph.p_offset, sizeof(note) + 4);
		if (!p)
			continue;
		memcpy(&note, p, sizeof(note));
		if (note.n_namesz == 4 &&
		    memcmp((const char *)p + sizeof(note), "Go\0", 4) == 0)
			return true;
	}
	return false;
}

uint16_t elf_machine(const uint8_t *image, size_t n)
{
	ElfW(Ehdr) header;

	if (n < sizeof(header) || memcmp(image, ELFMAG, SELFMAG) != 0)
		return 0;
	memcpy(&header, image, sizeof(header));
	return header.e_machine;
}

enum elf_verdict elf_judge(const uint8_t *image, size_t n, uint16_t machine)
{
	const int word = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
	struct elf_image e = { .bytes = image, .n = n };
	ElfW(Phdr) ph;

	if (n < SELFMAG || memcmp(image, ELFMAG, SELFMAG) != 0)
		return ELF_NOT_ELF;
	if (n < sizeof(e.header))
		return ELF_BROKEN;
	memcpy(&e.header, image, sizeof(e.header));
	if (e.header.e_ident[EI_CLASS] != word || e.header.e_machine != machine)
		return ELF_FOREIGN;
	if (e.header.e_phentsize != sizeof(ph) || e.header.e_phnum == 0)
		return ELF_BROKEN;
	if (elf_is_go(&e))
		return ELF_GO;
	if (!elf_find_segment(&e, PT_INTERP, &ph))
		return ELF_STATIC;
	if (!elf_find_segment(&e, PT_DYNAMIC, &ph))
		return ELF_STATIC;
	return elf_needs(&e, &ph, "libc.so.6") ? ELF_FINE : ELF_NO_LIBC;
}

const char *elf_verdict_text(enum elf_verdict v)
{
	switch (v) {
	case ELF_NOT_ELF:
		return "it is neither a program nor a script with \"#!\"";
	case ELF_BROKEN:
		return "its file is damaged";
	case ELF_FOREIGN:
		return "it is for another kind of machine";
	case ELF_STATIC:
		return "it is linked statically, so that no library can be "
		       "loaded into it";
	case ELF_NO_LIBC:
		return "it does not use the GNU C library (libc.so.6)";
	case ELF_GO:
		return "it is written in Go, whose programs make system calls "
		       "themselves";
	case ELF_FINE:
		break;
	}
	return "it is fine";
}
