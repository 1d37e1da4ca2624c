/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sim - the world: real stack and groups, model clients and backends, and
 * one clock that all of them share.
 *
 * Nothing in here looks at the time or at anything else outside but the
 * seed, so a run is a function of it.
 */
#ifndef XTCP_SIM_SIM_H
#define XTCP_SIM_SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "backend.h"
#include "daemon/groups.h"
#include "flow.h"
#include "link.h"
#include "rng.h"

#define PATHS_MAX 4u
#define SIM_GROUPS_MAX 2u
#define SIM_GROUP_ID 1u
#define SIM_PORT 5222
#define SIM_FIRST_PORT 20000u /* of flow 0; flow i has the i-th after it */
#define SIM_TEXT_MAX 512u
#define SIM_ACTIONS_MAX 32u

/* Which mix a seed draws from; names in scenario.c. */
enum sim_class {
	CLASS_CLEAN,
	CLASS_LOSS,
	CLASS_REORDER,
	CLASS_MTU,
	CLASS_HOSTILE,
	CLASS_DEATH,
	CLASS_POOLS,
	CLASS_MODES,
	CLASS_CLOSE,
	CLASS_BULK,
	CLASS_ANY,
	CLASS_COUNT
};

/* What happens at a time of its own. */
enum action_kind {
	ACT_KILL, /* process arg */
	ACT_START,
	ACT_HANG, /* ... for aux microseconds */
	ACT_ROGUE,
	ACT_ATTACK, /* a forged segment for flow arg */
	ACT_LINK, /* path arg changes to conf */
	ACT_SETTINGS, /* the group's settings change */
	ACT_HEAL, /* links and backends are good from here on */
};

struct action {
	uint64_t at_us;
	enum action_kind kind;
	uint32_t arg, aux;
	struct link_conf conf;
};

/* All that is drawn before the run begins. */
struct scenario {
	uint64_t seed;
	enum sim_class class;
	uint64_t start_us, heal_us; /* absolute */
	struct stack_group group; /* settings of both groups */
	uint32_t n_groups;
	enum conf_balance balance;
	enum conf_loss on_loss;
	uint64_t pool_bytes, rx_bytes, tx_bytes;
	uint32_t high_percent, low_percent;
	uint32_t max_connections;
	uint32_t snd_queue_max, rcv_window_max;
	uint8_t syn_cookies; /* enum stack_cookie_mode */
	uint32_t half_open_cookies; /* cookies from so many on */
	uint32_t n_paths, n_flows, n_procs;
	struct link_conf up[PATHS_MAX], down[PATHS_MAX];
	struct proc_conf procs[PROCS_MAX];
	struct action actions[SIM_ACTIONS_MAX];
	uint32_t n_actions;
	uint32_t check_every; /* steps between full checks */
	bool deaths, may_time_out;
	/* For the flows. */
	uint32_t items_max, q_max, p_max, serve_us_max, think_us_max;
	uint32_t endings; /* bits: which may be */
	uint32_t weird; /* bits: which habits clients may have */
	uint32_t pause_ppm;
	bool pushes; /* backends may speak unasked */
	bool small; /* small windows and segments */
	bool batch; /* packets that arrive together are one turn */
};

enum event_kind { EV_PACKET, EV_CLIENT, EV_PROC, EV_ACTION };

struct event {
	uint64_t at_us, order;
	enum event_kind kind;
	void *what;
};

/* What the simulation counts of its own, for the summary. */
#define SIM_COUNTERS(C)            \
	C(seeds)                   \
	C(steps)                   \
	C(packets_to_stack)        \
	C(packets_to_clients)      \
	C(lost)                    \
	C(duplicated)              \
	C(corrupted)               \
	C(reordered)               \
	C(too_big)                 \
	C(marked_ce)               \
	C(forged)                  \
	C(client_rtos)             \
	C(client_fast_retransmits) \
	C(client_sack_retransmits) \
	C(client_probes)           \
	C(client_pauses)           \
	C(client_sack_blocks)      \
	C(client_dsacks)           \
	C(client_reneged)          \
	C(client_retransmitted_to) \
	C(stack_sack_blocks)       \
	C(backend_deaths)          \
	C(backend_hangs)           \
	C(rogue_acts)              \
	C(flows)                   \
	C(flows_perfect)           \
	C(flows_excused)           \
	C(full_checks)             \
	C(ack_checks)              \
	C(early_bytes)

enum sim_counter {
#define C(name) SIM_##name,
	SIM_COUNTERS(C)
#undef C
		SIM_COUNT
};

struct world {
	struct scenario sc;
	uint64_t now_us;
	bool healed;
	bool ending; /* the script is done: no more flows */

	struct arena arena;
	struct shard shard;
	struct stack *st;
	struct groups gs;
	struct event_base *base;
	_Atomic uint32_t shared_count;
	uint64_t ticked_at_us;

	struct event *heap;
	uint32_t n_events, cap_events;
	uint64_t order;

	struct flow flows[FLOWS_MAX];
	struct path paths[PATHS_MAX];
	struct proc procs[PROCS_MAX];
	struct rng rng;

	/* The turn that is under way: what it was given and what it sent. */
	uint32_t turn_in[FLOWS_MAX], turn_acks[FLOWS_MAX];
	uint64_t turn_bytes[FLOWS_MAX];
	uint32_t turn_touched[FLOWS_MAX], n_touched;
	bool turn_app; /* a backend or a timer had its say */
	uint64_t frames_out; /* seen last */
	bool sockets_due; /* a backend wrote, read or closed */
	uint64_t early_bytes;
	uint64_t slow_resets; /* seen last */
	uint64_t steps, events_done, callbacks;

	uint64_t counts[SIM_COUNT];
	uint64_t sum_stack[SC_COUNT], sum_worker[WC_COUNT];
	jmp_buf *fail_jump;
	char reason[SIM_TEXT_MAX];
	bool verbose;
	FILE *pcap;
};

/* The run is over: what was expected did not come true. Does not return. */
void sim_fail(struct world *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));

/* With --verbose: a line of the trace. */
void sim_say(struct world *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* A line on what a packet is, with --verbose; and to the pcap file. */
void trace_packet(struct world *w, const char *what, const struct flow *f,
		  const uint8_t *bytes, uint32_t len);
void trace_pcap_open(struct world *w, const char *path);

static inline void sim_count(struct world *w, enum sim_counter which)
{
	w->counts[which]++;
}

/* world.c */
void world_at(struct world *w, uint64_t at_us, enum event_kind kind,
	      void *what);
/* world_up.c */
void world_up(struct world *w);
void world_down(struct world *w);
/* Run the seed. Returns whether all was well; w->reason says what was not. */
bool world_run(struct world *w);
struct flow *world_flow_by_conn(struct world *w, uint64_t conn_id);
/* Has a flow had more than one connection? */
bool world_has_reborn(const struct world *w);
/* A packet straight into the stack, and the turn. */
void world_inject(struct world *w, struct flow *f, const uint8_t *bytes,
		  uint32_t len, bool forged);
/* A stream may be lost from here on. */
void world_expect_loss(struct world *w);
/* Apply the scenario's settings to the groups. */
void world_set_groups(struct world *w);
extern const uint8_t world_vip4[16], world_vip6[16];

/* scenario.c */
void scenario_draw(struct scenario *sc, uint64_t seed, int forced_class);
/* The flows, once the rest is drawn. */
void scenario_flows(struct world *w);
void scenario_print(const struct world *w, FILE *to);
const char *scenario_class_name(enum sim_class class);
int scenario_class_by_name(const char *name);

/* attack.c: a forged segment that must do no harm. */
void attack_flow(struct world *w, struct flow *f);

/* check.c */
void check_emit(struct world *w, const uint8_t *bytes, uint32_t len);
/* The stack has made a record for the flow. */
void check_born(struct world *w, struct flow *f, uint32_t ri);
/* The handshake is done. */
void check_established(struct world *w, struct flow *f);
/* A genuine segment is about to go in; then it has been taken. */
/* A fragment came: what it was part of may be taken now, or never. */
void check_fragment(struct world *w, struct flow *f);
void check_before(struct world *w, struct flow *f, const struct wire *s);
void check_after(struct world *w, struct flow *f, const struct wire *s,
		 bool acceptable);
bool check_acceptable(struct world *w, const struct flow *f,
		      const struct wire *s);
void check_turn(struct world *w);
void check_full(struct world *w);
/* The record of the flow, or NULL when it has none. */
const struct rec *check_rec(const struct world *w, const struct flow *f);
/* The client, or the backend, was told that the connection is gone. */
void check_reset(struct world *w, struct flow *f, const char *how);
/* Idle connections are their records (I3). Returns one that is not, or NULL. */
const struct flow *check_not_idle(const struct world *w);
void check_empty(struct world *w);

#endif
