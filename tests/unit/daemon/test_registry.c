/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers of groups, pools and addresses, with a worker that is a mailbox and a
 * stack.
 */
#include <errno.h>
#include <string.h>

#include "../stack/rig.h"
#include "../unit.h"
#include "base/log.h"
#include "base/units.h"
#include "daemon/loss.h"
#include "daemon/registry_plan.h"
#include "stack/cc.h"

#define PORT 7000
#define BYTES (1u << 18)
#define MAIL_MAX 2

static struct worker worker;
static struct worker *const workers[1] = { &worker };
static struct registry reg;
static struct registry_group *rg;
static struct event_base *base;
static char reported[1024];

/* --- the configuration */

static struct conf_pool pools[3];
static struct conf_group groups[4];
static struct conf conf;

static void conf_add_pool(const char *name, uint64_t bytes)
{
	struct conf_pool *pool = &pools[conf.n_pools++];

	*pool = (struct conf_pool){ .receive_buffer_bytes = bytes,
				    .throttle_high = 90,
				    .throttle_low = 75 };
	strcpy(pool->name, name);
}

/* In the last pool. */
static struct conf_group *conf_add_group(const char *name, uint16_t port)
{
	struct conf_group *g = &groups[conf.n_groups++];

	*g = (struct conf_group){ .port = port,
				  .pool = conf.n_pools - 1,
				  .vip_mask = UINT64_MAX };
	strcpy(g->name, name);
	return g;
}

static void conf_add_vip(uint8_t host)
{
	conf.tun.vips[conf.tun.n_vips++] =
		(struct conf_ip){ 4, { 192, 0, 2, host } };
}

static void conf_begin(void)
{
	conf = (struct conf){ .pools = pools, .groups = groups };
	/* as the rig has them */
	conf.tun.vips[0].family = 4;
	memcpy(conf.tun.vips[0].bytes, rig.arena.header->vips[0].bytes, 16);
	conf.tun.vips[1].family = 6;
	memcpy(conf.tun.vips[1].bytes, rig.arena.header->vips[1].bytes, 16);
	conf.tun.n_vips = 2;
}

/* --- fixture */

static void no_log(void *ctx, enum log_level level, const char *line,
		   const struct log_field *fields, size_t n)
{
	(void)ctx;
	(void)level;
	(void)line;
	(void)fields;
	(void)n;
}

static uint64_t clock_of_rig(void *ctx)
{
	(void)ctx;
	return rig.now_us;
}

static void take_mail(void)
{
	mailbox_run(&worker.box, &worker);
	groups_turn(&worker.gs);
	stack_flush(rig.st, rig.now_us);
}

static void registry_up(void)
{
	ck_assert_int_eq(registry_init(&reg, workers, 1, rig.arena.header), 0);
}

static void up(void)
{
	const struct groups_ops ops = { .clock = clock_of_rig };

	log_set_sink(no_log, NULL);
	rig_up();
	stack_group_remove(rig.st, 1);
	memset(&worker, 0, sizeof(worker));
	worker.st = rig.st;
	base = worker.base = event_base_new();
	groups_init(&worker.gs, rig.st, base, &ops, 1, 4711);
	ck_assert_int_eq(mailbox_init(&worker.box, MAIL_MAX), 0);
	registry_up();
	conf_begin();
	reported[0] = '\0';
}

static void down(void)
{
	mailbox_close(&worker.box);
	take_mail();
	mailbox_fini(&worker.box);
	registry_fini(&reg);
	groups_fini(&worker.gs);
	event_base_free(base);
	rig_down();
	log_set_sink(NULL, NULL);
}

static void report(void *arg, const char *line)
{
	(void)arg;
	strncat(reported, line, sizeof(reported) - strlen(reported) - 1);
}

static int plan(struct registry_plan **ret_plan)
{
	return registry_plan_new(ret_plan, &reg, &conf, NULL, report, NULL);
}

static void apply(void)
{
	ck_assert_int_eq(registry_apply(&reg, &conf), 0);
	take_mail();
}

static uint16_t id_of(const char *name)
{
	return conf_find_group(&conf, name)->id;
}

static const struct arena_group *entry(uint16_t id)
{
	return &rig.arena.header->groups[id];
}

static void nothing(struct mail *mail, void *receiver)
{
	(void)mail;
	(void)receiver;
}

static void fill_mailbox(void)
{
	static struct mail fillers[MAIL_MAX];

	for (int i = 0; i < MAIL_MAX; i++) {
		fillers[i].run = nothing;
		ck_assert_int_eq(worker_post(&worker, &fillers[i]), 0);
	}
}

/* --- applications' own groups */

static void up_own(void)
{
	up();
	apply();
	ck_assert_int_eq(registry_own(&reg, PORT, BYTES, 1, &rg), 0);
	take_mail();
	ck_assert_ptr_nonnull(worker.gs.by_id[rg->id]);
}

/* Nobody attaches for so long that the group is to go. */
static void be_empty(void)
{
	registry_tick(&reg, USEC_PER_SEC);
	registry_tick(&reg, 2 * USEC_PER_MIN);
}

START_TEST(test_own_group_goes_with_its_pool)
{
	uint16_t id = rg->id;

	ck_assert_uint_eq(entry(id)->state, ARENA_GROUP_USED);
	ck_assert_uint_eq(entry(id)->own, 1);
	be_empty();
	take_mail();
	ck_assert_ptr_null(registry_find(&reg, PORT));
	ck_assert_ptr_null(worker.gs.by_id[id]);
	ck_assert_uint_eq(reg.own_bytes, 0);
	registry_tick(&reg, 2 * USEC_PER_MIN);
	ck_assert_uint_eq(entry(id)->state, ARENA_GROUP_FREE);
}
END_TEST

START_TEST(test_own_group_stays_while_the_workers_cannot_be_told)
{
	struct registry_group *found;

	fill_mailbox();
	be_empty();
	ck_assert_ptr_eq(registry_find(&reg, PORT), rg);
	ck_assert_uint_eq(reg.own_bytes, BYTES);
	take_mail();
	ck_assert_ptr_nonnull(worker.gs.by_id[rg->id]);
	registry_tick(&reg, 2 * USEC_PER_MIN);
	ck_assert_uint_eq(reg.own_bytes, 0);
	take_mail();
	ck_assert_int_eq(registry_own(&reg, PORT, BYTES, 2, &found), 0);
	ck_assert_uint_eq(reg.own_bytes, BYTES);
}
END_TEST

START_TEST(test_own_group_that_the_workers_cannot_be_told_of_is_not_made)
{
	struct registry_group *other;

	fill_mailbox();
	ck_assert_int_eq(registry_own(&reg, PORT + 1, BYTES, 1, &other),
			 -EAGAIN);
	ck_assert_ptr_null(registry_find(&reg, PORT + 1));
	ck_assert_uint_eq(reg.own_bytes, BYTES);
	take_mail();
	ck_assert_int_eq(registry_own(&reg, PORT + 1, BYTES, 1, &other), 0);
}
END_TEST

START_TEST(test_own_group_has_a_new_number_while_a_record_names_the_old_one)
{
	uint16_t old = rg->id;
	struct registry_group *again;

	atomic_store(&rg->connections, 1);
	be_empty();
	take_mail();
	ck_assert_int_eq(registry_own(&reg, PORT, BYTES, 2, &again), 0);
	ck_assert_uint_ne(again->id, old);
	ck_assert_uint_eq(entry(old)->state, ARENA_GROUP_ENDING);
	atomic_store(&rg->connections, 0);
	take_mail();
	ck_assert_int_eq(registry_own(&reg, PORT + 1, BYTES, 2, &again), 0);
	ck_assert_uint_eq(again->id, old);
	ck_assert_uint_eq(entry(old)->port, PORT + 1);
}
END_TEST

START_TEST(test_own_pools_have_a_bound)
{
	struct registry_group *found;

	ck_assert_int_eq(registry_own(&reg, PORT + 1, 2u << 20, 1, &found),
			 -EDQUOT);
	/* A configured pool takes what its share was. */
	conf_add_pool("p", 3 * BYTES);
	apply();
	ck_assert_int_eq(registry_own(&reg, PORT + 1, BYTES, 1, &found),
			 -EDQUOT);
	ck_assert_int_eq(registry_own(&reg, PORT, BYTES, 1, &found), 0);
}
END_TEST

/* --- a configuration comes into force */

START_TEST(test_group_settings_of_the_stack_follow_the_configuration)
{
	struct conf_group *g;
	const struct stack_group *sg;

	conf_add_pool("p", BYTES);
	g = conf_add_group("g", RIG_PORT);
	g->congestion = CONF_CONGESTION_RENO;
	apply();
	sg = rig.st->groups[1];
	ck_assert_uint_eq(sg->congestion, CC_RENO);
	ck_assert(!sg->ecn);
	g->congestion = CONF_CONGESTION_CUBIC;
	g->ecn = true;
	apply();
	ck_assert_uint_eq(sg->congestion, CC_CUBIC);
	ck_assert(sg->ecn);
}
END_TEST

static void two_groups(void)
{
	conf_begin();
	conf_add_pool("p", BYTES);
	conf_add_group("a", RIG_PORT);
	conf_add_group("b", RIG_PORT + 1);
}

START_TEST(test_groups_keep_their_numbers_in_any_order)
{
	uint16_t a, b;

	two_groups();
	apply();
	a = id_of("a");
	b = id_of("b");
	ck_assert_uint_eq(a, 1);
	ck_assert_uint_eq(b, 2);
	conf_begin();
	conf_add_pool("q", BYTES);
	conf_add_group("c", RIG_PORT + 2);
	conf_add_group("b", RIG_PORT + 1);
	conf_add_pool("p", BYTES);
	conf_add_group("a", RIG_PORT);
	apply();
	ck_assert_uint_eq(id_of("a"), a);
	ck_assert_uint_eq(id_of("b"), b);
	ck_assert_uint_eq(id_of("c"), 3);
	ck_assert_uint_eq(rig.st->groups[a]->pool,
			  conf_find_pool(&conf, "p")->number);
	ck_assert_uint_eq(rig.st->groups[b]->pool,
			  conf_find_pool(&conf, "q")->number);
	ck_assert_str_eq(entry(3)->name, "c");
	ck_assert_uint_eq(entry(3)->port, RIG_PORT + 2);
}
END_TEST

START_TEST(test_removed_group_ends_and_its_number_is_free_after_that)
{
	struct rig_client cl = { 0 };
	uint16_t old;

	two_groups();
	apply();
	old = id_of("a");
	rig_connect(&cl, 1000);
	conf_begin();
	conf_add_pool("p", BYTES);
	conf_add_group("b", RIG_PORT + 1);
	ck_assert_int_eq(registry_apply(&reg, &conf), 0);
	/* The worker does not know yet: it may still take connections. */
	ck_assert_uint_eq(entry(old)->state, ARENA_GROUP_ENDING);
	conf_add_group("c", RIG_PORT);
	apply();
	rig_expect(&cl, TH_RST | TH_ACK);
	ck_assert_uint_eq(counter_get(&worker.gs.counters[WC_group_removed]),
			  1);
	ck_assert_uint_ne(id_of("c"), old);
	conf_add_group("d", RIG_PORT + 3);
	apply();
	ck_assert_uint_eq(id_of("d"), old);
	ck_assert_str_eq(entry(old)->name, "d");
	ck_assert_uint_eq(rig.st->groups[old]->port, RIG_PORT + 3);
}
END_TEST

START_TEST(test_another_port_or_name_is_another_group)
{
	struct rig_client cl = { 0 };

	two_groups();
	apply();
	rig_connect(&cl, 1000);
	groups[0].port = RIG_PORT + 7;
	apply();
	rig_expect(&cl, TH_RST | TH_ACK);
	ck_assert_uint_eq(id_of("a"), 3);
	ck_assert_uint_eq(id_of("b"), 2);
	strcpy(groups[1].name, "renamed");
	apply();
	ck_assert_uint_eq(id_of("renamed"), 1);
	ck_assert_ptr_null(worker.gs.by_id[2]);
}
END_TEST

START_TEST(test_plan_that_is_not_carried_out_changes_nothing)
{
	struct registry_plan *p;
	struct arena_header *before = malloc(sizeof(*before));

	two_groups();
	apply();
	memcpy(before, rig.arena.header, sizeof(*before));
	conf_begin();
	conf_add_vip(77);
	conf_add_pool("q", BYTES);
	conf_add_group("c", RIG_PORT);
	ck_assert_int_eq(plan(&p), 0);
	registry_plan_free(p);
	fill_mailbox();
	ck_assert_int_eq(plan(&p), -EAGAIN);
	ck_assert_ptr_nonnull(strstr(reported, "too far behind"));
	take_mail();
	ck_assert_mem_eq(before, rig.arena.header, sizeof(*before));
	ck_assert_str_eq(worker.gs.by_id[1]->name, "a");
	ck_assert_str_eq(worker.gs.by_id[2]->name, "b");
	ck_assert_ptr_null(worker.gs.by_id[3]);
	/* What was reserved was given back. */
	ck_assert_uint_eq(worker.box.reserved, 0);
	free(before);
}
END_TEST

START_TEST(test_pools_that_the_arena_has_no_room_for_are_refused)
{
	struct registry_plan *p;

	two_groups();
	apply();
	pools[0].receive_buffer_bytes = 1u << 20;
	apply(); /* just so much */
	ck_assert_uint_eq(rig.st->pools[0].limit_chunks, 2048);
	pools[0].receive_buffer_bytes++;
	ck_assert_int_eq(plan(&p), -ENOSPC);
	ck_assert_ptr_nonnull(
		strstr(reported, "receive-buffer: 1048577 bytes"));
	ck_assert_ptr_nonnull(strstr(reported, "stop xtcpd, then start it"));
	ck_assert_uint_eq(rig.st->pools[0].limit_chunks, 2048);
}
END_TEST

START_TEST(test_pool_that_is_removed_has_no_limit_any_more)
{
	uint16_t number;

	two_groups();
	conf_add_pool("q", BYTES);
	apply();
	number = conf_find_pool(&conf, "q")->number;
	ck_assert_uint_gt(rig.st->pools[number].limit_chunks, 0);
	two_groups();
	apply();
	ck_assert_uint_eq(rig.st->pools[number].limit_chunks, 0);
	conf_add_pool("r", 2 * BYTES);
	apply();
	ck_assert_uint_eq(conf_find_pool(&conf, "r")->number, number);
}
END_TEST

/* --- addresses */

START_TEST(test_own_ports_are_told_by_number_and_in_order)
{
	const struct stack_own *own = &rig.st->own;

	two_groups();
	conf_add_vip(77);
	conf.tun.own_vips = 1 << 2 | 1 << 0;
	conf.tun.own[0].ip = conf.tun.vips[2];
	conf.tun.own[0].port = 9;
	conf.tun.own[1].ip = conf.tun.vips[2];
	conf.tun.own[1].port = 7;
	conf.tun.own[2].ip = conf.tun.vips[0];
	conf.tun.own[2].port = 8;
	conf.tun.n_own = 3;
	apply();
	ck_assert_uint_eq(own->vips, 5);
	ck_assert_uint_eq(own->n, 3);
	ck_assert_uint_eq(own->ports[0], stack_own_port(0, 8));
	ck_assert_uint_eq(own->ports[1], stack_own_port(2, 7));
	ck_assert_uint_eq(own->ports[2], stack_own_port(2, 9));
	ck_assert(stack_own_has(own, 1, 1));
	ck_assert(!stack_own_has(own, 2, 8));
}
END_TEST

START_TEST(test_addresses_keep_their_numbers)
{
	const struct arena_vip *vips = rig.arena.header->vips;
	struct conf_ip first;

	two_groups();
	conf_add_vip(77);
	groups[0].vip_mask = 1 << 2;
	apply();
	ck_assert_uint_eq(conf.tun.vip_numbers[2], 2);
	ck_assert_uint_eq(vips[2].bytes[3], 77);
	ck_assert_uint_eq(rig.st->vips, 7);
	ck_assert_uint_eq(rig.st->groups[1]->vip_mask, 1 << 2);
	/* Another order: the mask is by place, the number stays. */
	first = conf.tun.vips[0];
	conf.tun.vips[0] = conf.tun.vips[2];
	conf.tun.vips[2] = first;
	groups[0].vip_mask = 1 << 0;
	apply();
	ck_assert_uint_eq(conf.tun.vip_numbers[0], 2);
	ck_assert_uint_eq(conf.tun.vip_numbers[2], 0);
	ck_assert_uint_eq(rig.st->groups[1]->vip_mask, 1 << 2);
}
END_TEST

START_TEST(test_removed_address_ends_its_connections)
{
	const struct arena_vip *vips = rig.arena.header->vips;
	struct rig_client v4 = { 0 }, v6;

	two_groups();
	apply();
	rig_connect(&v4, 1000);
	rig_client(&v6, 1001);
	v6.v6 = true;
	rig_connect(&v6, 1001);
	conf.tun.vips[0] = conf.tun.vips[1];
	conf.tun.n_vips = 1;
	apply();
	rig_expect(&v4, TH_RST | TH_ACK);
	rig_expect_nothing();
	ck_assert_uint_eq(rig_rec(&v6)->state, TCP_ESTABLISHED);
	ck_assert_uint_eq(counter_get(&worker.gs.counters[WC_vip_removed]), 1);
	ck_assert_uint_eq(conf.tun.vip_numbers[0], 1);
	/* The number is free once the workers found no record with it. */
	ck_assert_uint_eq(vips[0].family, 4);
	registry_tick(&reg, USEC_PER_SEC);
	registry_tick(&reg, USEC_PER_SEC);
	ck_assert_uint_eq(vips[0].family, 4);
	take_mail();
	registry_tick(&reg, USEC_PER_SEC);
	ck_assert_uint_eq(vips[0].family, 0);
	conf_add_vip(99);
	apply();
	ck_assert_uint_eq(conf.tun.vip_numbers[1], 0);
	ck_assert_uint_eq(vips[0].bytes[3], 99);
}
END_TEST

START_TEST(test_number_of_an_address_is_not_free_while_a_record_names_it)
{
	struct rig_client v4 = { 0 };

	two_groups();
	apply();
	rig_connect(&v4, 1000);
	conf.tun.vips[0] = conf.tun.vips[1];
	conf.tun.n_vips = 1;
	ck_assert_int_eq(registry_apply(&reg, &conf), 0);
	registry_tick(&reg, USEC_PER_SEC); /* asks, behind the removal */
	rig_rec(&v4)->flags |= REC_TOLD;
	stack_tick(rig.st, rig.now_us);
	/* It comes back before the answer does: the answer is void. */
	conf_begin();
	conf_add_pool("p", BYTES);
	conf_add_group("a", RIG_PORT);
	take_mail();
	apply();
	ck_assert_uint_eq(conf.tun.vip_numbers[0], 0);
	registry_tick(&reg, USEC_PER_SEC);
	ck_assert_uint_eq(rig.arena.header->vips[0].family, 4);
	ck_assert_uint_eq(reg.vips, 3);
	rig.seen = rig.n_out;
}
END_TEST

/* --- a restart */

/* A new process on the arena: its stack and groups know nothing. */
static void restart(void)
{
	const struct groups_ops ops = { .clock = clock_of_rig };
	struct stack_ops none = rig.st->ops;
	struct stack_limits limits = rig.st->limits;

	registry_fini(&reg);
	groups_fini(&worker.gs);
	stack_free(rig.st);
	rig.st = stack_new(&rig.shard, 1, &none, &limits, rig.now_us);
	worker.st = rig.st;
	groups_init(&worker.gs, rig.st, base, &ops, 1, 4712);
	registry_up();
}

/* As a worker does, once it has its groups. */
static void recover(void)
{
	ck_assert_uint_eq(stack_recover(rig.st, rig.now_us), 1);
	loss_recovered(&worker.gs);
}

START_TEST(test_records_find_their_group_after_a_restart)
{
	struct rig_client a = { 0 };

	two_groups();
	apply();
	rig_connect(&a, 1000);
	ck_assert_uint_eq(rig_rec(&a)->group, 1);
	restart();
	conf_begin();
	conf_add_pool("p", BYTES);
	conf_add_group("new", RIG_PORT + 2);
	conf_add_group("b", RIG_PORT + 1);
	conf_add_group("a", RIG_PORT);
	apply();
	recover();
	registry_recovered(&reg);
	take_mail();
	ck_assert_uint_eq(id_of("a"), 1);
	ck_assert_uint_eq(id_of("b"), 2);
	ck_assert_uint_eq(id_of("new"), 3);
	rig_send(&a, "hello");
	rig_expect_text(&a, "hello");
	rig_reply(&a, 5, "");
	ck_assert_uint_eq(rig_expect(&a, TH_ACK)->ack, a.snd_nxt);
}
END_TEST

START_TEST(test_records_of_a_group_that_is_not_there_after_a_restart_end)
{
	struct rig_client a = { 0 };

	two_groups();
	apply();
	rig_connect(&a, 1000);
	restart();
	conf_begin();
	conf_add_pool("p", BYTES);
	conf_add_group("b", RIG_PORT + 1);
	conf_add_group("c", RIG_PORT);
	apply();
	recover();
	ck_assert_uint_eq(id_of("b"), 2);
	ck_assert_uint_eq(id_of("c"), 3);
	rig_expect_nothing(); /* not before recovery is through */
	ck_assert_uint_eq(rig_rec(&a)->state, TCP_ESTABLISHED);
	registry_recovered(&reg);
	take_mail();
	rig_expect(&a, TH_RST | TH_ACK);
	ck_assert_uint_eq(counter_get(&worker.gs.counters[WC_group_removed]),
			  1);
	registry_tick(&reg, USEC_PER_SEC);
	ck_assert_uint_eq(entry(1)->state, ARENA_GROUP_FREE);
	registry_recovered(&reg);
	ck_assert_uint_eq(worker.box.n, 0);
}
END_TEST

START_TEST(test_removal_that_a_restart_interrupts_is_completed)
{
	struct rig_client a = { 0 };

	two_groups();
	apply();
	rig_connect(&a, 1000);
	conf_begin();
	conf_add_pool("p", BYTES);
	ck_assert_int_eq(registry_apply(&reg, &conf), 0);
	/* Killed before the worker heard of it; then the group comes back. */
	mailbox_run(&worker.box, &worker);
	worker.gs.ending.on = false;
	rig.seen = rig.n_out;
	ck_assert_uint_eq(entry(1)->state, ARENA_GROUP_ENDING);
	restart();
	two_groups();
	apply();
	stack_recover(rig.st, rig.now_us);
	ck_assert_uint_eq(id_of("a"), 3);
	ck_assert(reg.groups[1]->orphan);
	registry_recovered(&reg);
	take_mail();
	registry_tick(&reg, USEC_PER_SEC);
	ck_assert_uint_eq(entry(1)->state, ARENA_GROUP_FREE);
}
END_TEST

START_TEST(test_address_that_is_not_there_after_a_restart_ends)
{
	struct rig_client v4 = { 0 };

	two_groups();
	apply();
	rig_connect(&v4, 1000);
	restart();
	conf.tun.vips[0] = conf.tun.vips[1];
	conf.tun.n_vips = 1;
	apply();
	recover();
	ck_assert_uint_eq(reg.vips_orphan, 1);
	rig_expect_nothing();
	registry_recovered(&reg);
	take_mail();
	rig_expect(&v4, TH_RST | TH_ACK);
	ck_assert_uint_eq(reg.vips_orphan, 0);
	ck_assert_uint_eq(reg.vips_ending, 1);
}
END_TEST

START_TEST(test_own_group_waits_for_its_application_after_a_restart)
{
	struct registry_group *found;
	uint16_t id = rg->id;

	restart();
	conf_begin();
	conf_add_pool("p", BYTES);
	apply();
	ck_assert_uint_eq(reg.own_bytes, BYTES);
	ck_assert_ptr_nonnull(worker.gs.by_id[id]);
	ck_assert_uint_eq(rig.st->pools[rig.st->groups[id]->pool].limit_chunks,
			  BYTES / CHUNK_BYTES);
	ck_assert_int_eq(registry_own(&reg, PORT, BYTES, 99, &found),
			 -EADDRINUSE);
	ck_assert_int_eq(registry_own(&reg, PORT, BYTES, 1, &found), 0);
	ck_assert_uint_eq(found->id, id);
	registry_recovered(&reg);
	be_empty();
	take_mail();
	ck_assert_ptr_null(worker.gs.by_id[id]);
	ck_assert_uint_eq(reg.own_bytes, 0);
}
END_TEST

/* The file asked for more before the restart; a reload of it is no mistake. */
START_TEST(test_pools_make_do_with_the_arena_after_a_restart)
{
	struct registry_plan *p;

	two_groups();
	pools[0].receive_buffer_bytes = 4u << 20;
	apply();
	apply();
	ck_assert_uint_eq(reg.own_bytes_max, 0);
	pools[0].receive_buffer_bytes++;
	ck_assert_int_eq(plan(&p), -ENOSPC);
	pools[0].receive_buffer_bytes = 2u << 20;
	apply();
	ck_assert_uint_eq(rig.st->pools[0].limit_chunks, 4096);
}
END_TEST

START_TEST(test_nonsense_in_the_arena_is_no_group)
{
	struct arena_group *ag = rig.arena.header->groups;

	two_groups();
	apply();
	ag[3] = (struct arena_group){ .name = "no port",
				      .state = ARENA_GROUP_USED };
	ag[4] = (struct arena_group){ .port = 1, .state = 77 };
	memset(ag[5].name, 'x', sizeof(ag[5].name));
	ag[5].port = 1;
	ag[5].state = ARENA_GROUP_USED;
	ag[6] = ag[1]; /* a twin */
	ag[REGISTRY_OWN_GROUP_FIRST] = ag[1];
	restart();
	two_groups();
	apply();
	ck_assert_uint_eq(id_of("a"), 1);
	for (int i = 3; i < 6; i++)
		ck_assert_uint_eq(ag[i].state, ARENA_GROUP_FREE);
	ck_assert_uint_eq(ag[6].state, ARENA_GROUP_ENDING);
	ck_assert_uint_eq(ag[REGISTRY_OWN_GROUP_FIRST].state, ARENA_GROUP_FREE);
	registry_recovered(&reg);
	take_mail();
	registry_tick(&reg, USEC_PER_SEC);
	ck_assert_uint_eq(ag[6].state, ARENA_GROUP_FREE);
}
END_TEST

UNIT_MAIN(
	"daemon/registry",
	UNIT_CASE(
		"own", up_own, down, test_own_group_goes_with_its_pool,
		test_own_group_stays_while_the_workers_cannot_be_told,
		test_own_group_that_the_workers_cannot_be_told_of_is_not_made,
		test_own_group_has_a_new_number_while_a_record_names_the_old_one,
		test_own_pools_have_a_bound,
		test_own_group_waits_for_its_application_after_a_restart),
	UNIT_CASE("configuration", up, down,
		  test_group_settings_of_the_stack_follow_the_configuration,
		  test_groups_keep_their_numbers_in_any_order,
		  test_removed_group_ends_and_its_number_is_free_after_that,
		  test_another_port_or_name_is_another_group,
		  test_plan_that_is_not_carried_out_changes_nothing,
		  test_pools_that_the_arena_has_no_room_for_are_refused,
		  test_pool_that_is_removed_has_no_limit_any_more,
		  test_own_ports_are_told_by_number_and_in_order,
		  test_addresses_keep_their_numbers,
		  test_removed_address_ends_its_connections,
		  test_number_of_an_address_is_not_free_while_a_record_names_it),
	UNIT_CASE("restart", up, down,
		  test_records_find_their_group_after_a_restart,
		  test_records_of_a_group_that_is_not_there_after_a_restart_end,
		  test_removal_that_a_restart_interrupts_is_completed,
		  test_address_that_is_not_there_after_a_restart_ends,
		  test_pools_make_do_with_the_arena_after_a_restart,
		  test_nonsense_in_the_arena_is_no_group))
