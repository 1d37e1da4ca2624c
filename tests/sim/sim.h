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
	CLASS_KILL, /* by name alone */
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
	/* Kills of xtcpd, kill.c. */
	uint32_t kill_every; /* steps; 0: never */
	uint32_t kills_max;
	uint32_t dead_us_max; /* until the next process */
	bool keeps_tun; /* packets wait for it */
};

#define KILL_PACKETS_MAX 500u /* that wait in the TUN device */

/* What a flow's record says, for a comparison with what is recovered. */
struct kill_mark {
	bool active;
	uint32_t rcv_app, rcv_nxt, rcv_acked, rcv_adv, snd_end, snd_nxt;
	uint64_t snd_off;
};

/* xtcpd is killed now and then, and what there is between two of it. */
struct kill {
	struct rng rng;
	uint64_t at_step; /* of world.events_done; UINT64_MAX: no more */
	bool in_step; /* at one of the next callbacks, not after the step */
	uint32_t callbacks; /* until then */
	uint32_t done;
	jmp_buf *jump; /* out of the step; NULL: it can't be killed now */

	bool dead;
	uint64_t back_at_us;
	int arena_fd; /* what is left */
	uint32_t epoch; /* processes before this one */
	struct kill_mark marks[FLOWS_MAX];
	struct packet *waiting[KILL_PACKETS_MAX];
	uint32_t n_waiting;
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
	C(kills)                   \
	C(kills_in_step)           \
	C(kill_packets_kept)       \
	C(kill_packets_lost)       \
	C(resumed)                 \
	C(frames_again)            \
	C(trimmed)                 \
	C(stale_resets)            \
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

	/* The packet that is in the stack. */
	struct packet *in_packet;
	struct flow *in_flow; /* whose genuine segment it is, or NULL */
	uint32_t in_tsval;
	bool in_has_ts;

	struct kill kill;

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
/*
 * A process on w->arena, which takes over what it finds there (returns how many
 * connections), and its end; its counters are added up.
 */
uint32_t world_process_up(struct world *w);
void world_process_down(struct world *w);
/* A counter of the stack, of all processes so far. */
uint64_t world_stack_counter(const struct world *w, enum stack_counter which);
/* world.c: one step that may be the last one of this process. */
void world_step_once(struct world *w, uint64_t until_us);
void world_turn(struct world *w);
/* A packet that the stack is given, or that waits for one. */
void world_event(struct world *w, const struct event *e);
struct event world_pop(struct world *w);
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
void scenario_draw(struct scenario *sc, uint64_t seed, int forced_class,
		   uint32_t kill_every);
/* The flows, once the rest is drawn. */
void scenario_flows(struct world *w);
void scenario_print(const struct world *w, FILE *to);
const char *scenario_class_name(enum sim_class class);
int scenario_class_by_name(const char *name);

/* kill.c: a step, with which this process may end. */
void kill_step(struct world *w, uint64_t until_us);
/* Draw when the first one is. */
void kill_init(struct world *w);
/* The stack called: this may have been its last one. */
void kill_point(struct world *w);
/* xtcpd dies now, between two steps. */
void kill_now(struct world *w);
/* Go on until there is a process. */
void kill_wait(struct world *w);
/* A packet for a stack that is not there. */
void kill_packet(struct world *w, struct packet *p);
void kill_fini(struct world *w);

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
/* The turn was cut short, and what it did with w->in_flow is not known. */
void check_cut(struct world *w);
/* A new process has taken over. */
void check_recovered(struct world *w, uint32_t taken);
void check_full(struct world *w);
/* The record of the flow, or NULL when it has none. */
const struct rec *check_rec(const struct world *w, const struct flow *f);
/* The client, or the backend, was told that the connection is gone. */
void check_reset(struct world *w, struct flow *f, const char *how);
/* Idle connections are their records (I3). Returns one that is not, or NULL. */
const struct flow *check_not_idle(const struct world *w);
void check_empty(struct world *w);

#endif
