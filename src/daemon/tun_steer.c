/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tun_steer - the program that chooses queues, instruction by instruction.
 *
 * Theory of operation
 *
 * It is of the type of a socket filter, which may read the packet with the
 * load instructions of classic BPF: they take network byte order, keep r6 to
 * r9, and end the program with 0 when the packet is too short. So no bounds
 * are checked here.
 *
 *	r0	what was loaded		r6	the packet, for the loads
 *	r1	a key			r7	the sum
 *
 * Jumps are all forward. Each stands with its offset open in the list of its
 * label until steer_label() says where that is.
 */
#include "daemon/tun_steer.h"

#include <assert.h>
#include <errno.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arena/shard.h"
#include "base/log.h"

#define STEER_JUMPS_MAX 4u
/* Of the headers: RFC 791, RFC 8200, RFC 9293. */
#define STEER_IP4_FRAGMENT 6
#define STEER_IP4_PROTO 9
#define STEER_IP4_SRC 12
#define STEER_IP4_FRAGMENT_MASK 0x3fff /* MF and offset */
#define STEER_IP6_PROTO 6
#define STEER_IP6_SRC 8
#define STEER_IP6_BYTES 40
#define STEER_TCP 6

enum {
	R0 = BPF_REG_0,
	R1 = BPF_REG_1,
	R6 = BPF_REG_6,
	R7 = BPF_REG_7,
};

struct steer {
	struct bpf_insn *insns;
	uint32_t n;
	const uint64_t *keys;
};

/* Jumps to a place that is not there yet. */
struct steer_jumps {
	uint32_t at[STEER_JUMPS_MAX];
	uint32_t n;
};

/* --- single instructions ----------------------------------------------- */

static void steer_put(struct steer *s, int code, unsigned int dst,
		      unsigned int src, int32_t imm)
{
	assert(s->n < TUN_STEER_INSNS_MAX);
	s->insns[s->n++] = (struct bpf_insn){
		.code = (uint8_t)code,
		.dst_reg = dst & 0xf,
		.src_reg = src & 0xf,
		.imm = imm,
	};
}

/* r0 = size of the packet at off: BPF_B, BPF_H or BPF_W. */
static void steer_load(struct steer *s, int size, int32_t off)
{
	steer_put(s, BPF_LD | BPF_ABS | size, 0, 0, off);
}

/* dst op= src, of 64 bits. */
static void steer_reg(struct steer *s, int op, unsigned int dst,
		      unsigned int src)
{
	steer_put(s, BPF_ALU64 | op | BPF_X, dst, src, 0);
}

/* dst op= imm, of 64 bits. */
static void steer_imm(struct steer *s, int op, unsigned int dst, int32_t imm)
{
	steer_put(s, BPF_ALU64 | op | BPF_K, dst, 0, imm);
}

/* r1 = v */
static void steer_const(struct steer *s, uint64_t v)
{
	steer_put(s, BPF_LD | BPF_IMM | BPF_DW, R1, 0, (int32_t)v);
	steer_put(s, 0, 0, 0, (int32_t)(v >> 32));
}

/* If r0 op imm, go to where steer_label() will say. */
static void steer_jump(struct steer *s, int op, int32_t imm,
		       struct steer_jumps *to)
{
	assert(to->n < STEER_JUMPS_MAX);
	to->at[to->n++] = s->n;
	steer_put(s, BPF_JMP | op | BPF_K, R0, 0, imm);
}

static void steer_label(struct steer *s, const struct steer_jumps *here)
{
	for (uint32_t i = 0; i < here->n; i++)
		s->insns[here->at[i]].off = (int16_t)(s->n - here->at[i] - 1);
}

/* --- the program ------------------------------------------------------- */

/* r7 += r0 * key */
static void steer_add(struct steer *s, uint32_t key)
{
	steer_const(s, s->keys[key]);
	steer_reg(s, BPF_MUL, R0, R1);
	steer_reg(s, BPF_ADD, R7, R0);
}

/* r7 ^= r7 >> shift */
static void steer_fold(struct steer *s, int32_t shift)
{
	steer_reg(s, BPF_MOV, R0, R7);
	steer_imm(s, BPF_RSH, R0, shift);
	steer_reg(s, BPF_XOR, R7, R0);
}

/* r7 = tuple_mix(r7): its products are of 32 bits. */
static void steer_mix(struct steer *s)
{
	steer_fold(s, 16);
	steer_put(s, BPF_ALU | BPF_MUL | BPF_K, R7, 0, (int32_t)TUPLE_MIX_1);
	steer_fold(s, 13);
	steer_put(s, BPF_ALU | BPF_MUL | BPF_K, R7, 0, (int32_t)TUPLE_MIX_2);
	steer_fold(s, 16);
}

/* The remote address into the sum, and the port into r0. */
static void steer_ip4(struct steer *s, struct steer_jumps *no_port)
{
	steer_load(s, BPF_W, STEER_IP4_SRC);
	steer_add(s, 1);
	steer_load(s, BPF_B, STEER_IP4_PROTO);
	steer_jump(s, BPF_JNE, STEER_TCP, no_port);
	steer_load(s, BPF_H, STEER_IP4_FRAGMENT);
	steer_jump(s, BPF_JSET, STEER_IP4_FRAGMENT_MASK, no_port);
	steer_load(s, BPF_B, 0);
	steer_imm(s, BPF_AND, R0, 0xf);
	steer_imm(s, BPF_LSH, R0, 2);
	steer_put(s, BPF_LD | BPF_IND | BPF_H, 0, R0, 0);
}

static void steer_ip6(struct steer *s, struct steer_jumps *no_port)
{
	for (uint32_t i = 0; i < 4; i++) {
		steer_load(s, BPF_W, STEER_IP6_SRC + 4 * (int32_t)i);
		steer_add(s, 1 + i);
	}
	steer_load(s, BPF_B, STEER_IP6_PROTO);
	steer_jump(s, BPF_JNE, STEER_TCP, no_port);
	steer_load(s, BPF_H, STEER_IP6_BYTES);
}

uint32_t tun_steer_program(const struct arena_header *header,
			   struct bpf_insn ret_insns[TUN_STEER_INSNS_MAX])
{
	struct steer s = { .insns = ret_insns, .keys = header->worker_keys };
	struct steer_jumps no_ip = { .n = 0 }, ip4 = no_ip, port = no_ip,
			   no_port = no_ip;

	steer_reg(&s, BPF_MOV, R6, R1);
	steer_const(&s, s.keys[0]);
	steer_reg(&s, BPF_MOV, R7, R1);
	steer_load(&s, BPF_B, 0);
	steer_imm(&s, BPF_RSH, R0, 4);
	steer_jump(&s, BPF_JEQ, 4, &ip4);
	steer_jump(&s, BPF_JNE, 6, &no_ip);
	steer_ip6(&s, &no_port);
	steer_jump(&s, BPF_JA, 0, &port);
	steer_label(&s, &ip4);
	steer_ip4(&s, &no_port);
	steer_label(&s, &port);
	steer_add(&s, 5);
	steer_label(&s, &no_port);
	steer_imm(&s, BPF_RSH, R7, 32);
	steer_mix(&s);
	steer_imm(&s, BPF_MUL, R7, (int32_t)header->workers);
	steer_imm(&s, BPF_RSH, R7, 32);
	steer_reg(&s, BPF_MOV, R0, R7);
	steer_put(&s, BPF_JMP | BPF_EXIT, 0, 0, 0);
	steer_label(&s, &no_ip);
	steer_imm(&s, BPF_MOV, R0, 0);
	steer_put(&s, BPF_JMP | BPF_EXIT, 0, 0, 0);
	return s.n;
}

/* --- to the kernel and back -------------------------------------------- */

/* Returns a descriptor of the program or a negative errno. */
static int steer_load_program(const struct arena_header *header)
{
	struct bpf_insn insns[TUN_STEER_INSNS_MAX];
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insn_cnt = tun_steer_program(header, insns);
	attr.insns = (uintptr_t)insns;
	attr.license = (uintptr_t) "BSD";
	memcpy(attr.prog_name, "xtcpd_steer", sizeof("xtcpd_steer"));
	fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	return fd < 0 ? -errno : (int)fd;
}

int tun_steer_on(int queue_fd, const char *device,
		 const struct arena_header *header)
{
	int fd = steer_load_program(header);
	int err = fd < 0 ? fd : 0;

	if (!err && ioctl(queue_fd, TUNSETSTEERINGEBPF, &fd) < 0)
		err = -errno;
	if (fd >= 0)
		close(fd); /* the device has it */
	if (err < 0) {
		log_info(
			"tun %s: the kernel does not take our choice of queues (%s%s): "
			"workers hand packets over",
			device, strerror(-err),
			err == -EPERM ? ", CAP_BPF would permit it" : "");
		tun_steer_off(queue_fd);
	}
	return err;
}

void tun_steer_off(int queue_fd)
{
	int none = -1;

	(void)ioctl(queue_fd, TUNSETSTEERINGEBPF, &none);
}
