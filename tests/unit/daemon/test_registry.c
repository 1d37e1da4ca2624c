/* SPDX-License-Identifier: BSD-2-Clause */
/* Applications' own groups, with a worker that is a mailbox and a stack. */
#include <errno.h>
#include <string.h>

#include "../stack/rig.h"
#include "../unit.h"
#include "base/log.h"
#include "base/units.h"
#include "daemon/registry.h"
#include "stack/cc.h"

#define PORT 7000
#define BYTES (1u << 20)

static struct worker worker;
static struct worker *const workers[1] = { &worker };
static struct registry reg;
static struct registry_group *rg;
static const struct conf conf;

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
}

static void up(void)
{
	const struct groups_ops ops = { .clock = clock_of_rig };

	log_set_sink(no_log, NULL);
	rig_up();
	memset(&worker, 0, sizeof(worker));
	worker.st = rig.st;
	worker.base = event_base_new();
	groups_init(&worker.gs, rig.st, worker.base, &ops, 1, 4711);
	ck_assert_int_eq(mailbox_init(&worker.box, 2), 0);
	registry_init(&reg, workers, 1, &conf);
	ck_assert_int_eq(registry_own(&reg, PORT, BYTES, 1, &rg), 0);
	take_mail();
	ck_assert_ptr_nonnull(worker.gs.by_id[rg->id]);
}

static void down(void)
{
	mailbox_close(&worker.box);
	take_mail();
	mailbox_fini(&worker.box);
	registry_fini(&reg);
	groups_fini(&worker.gs);
	event_base_free(worker.base);
	rig_down();
	log_set_sink(NULL, NULL);
}

static void nothing(struct mail *mail, void *receiver)
{
	(void)mail;
	(void)receiver;
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

	be_empty();
	take_mail();
	ck_assert_ptr_null(registry_find(&reg, PORT));
	ck_assert_ptr_null(worker.gs.by_id[id]);
	ck_assert_uint_eq(reg.own_bytes, 0);
}
END_TEST

START_TEST(test_own_group_whose_pool_could_not_be_told_is_not_found)
{
	struct mail filler = { .run = nothing };
	struct registry_group *found;

	ck_assert_int_eq(worker_post(&worker, &filler), 0);
	be_empty(); /* room for one of the two mails */
	ck_assert_ptr_null(registry_find(&reg, PORT));
	ck_assert_uint_eq(reg.own_bytes, BYTES);
	ck_assert_int_eq(registry_own(&reg, PORT, BYTES, 2, &found), -EAGAIN);
	take_mail();
	ck_assert_ptr_null(worker.gs.by_id[rg->id]);
	registry_tick(&reg, 2 * USEC_PER_MIN);
	ck_assert_uint_eq(reg.own_bytes, 0);
	take_mail();
	ck_assert_int_eq(registry_own(&reg, PORT, BYTES, 2, &found), 0);
	ck_assert_uint_eq(reg.own_bytes, BYTES);
}
END_TEST

static uint32_t pools_in_use(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < STACK_POOLS_MAX; i++)
		n += rig.st->pools[i].limit_chunks > 0;
	return n;
}

START_TEST(test_own_group_that_could_not_be_made_is_undone)
{
	struct mail filler = { .run = nothing };
	uint32_t before = pools_in_use();
	struct registry_group *other;

	ck_assert_int_eq(worker_post(&worker, &filler), 0);
	ck_assert_int_eq(registry_own(&reg, PORT + 1, BYTES, 1, &other),
			 -EAGAIN);
	take_mail();
	ck_assert_ptr_null(registry_find(&reg, PORT + 1));
	registry_tick(&reg, USEC_PER_SEC);
	take_mail();
	ck_assert_uint_eq(reg.own_bytes, BYTES);
	ck_assert_uint_eq(pools_in_use(), before);
}
END_TEST

START_TEST(test_group_settings_of_the_stack_follow_the_configuration)
{
	struct conf_pool pool = { .name = "p",
				  .receive_buffer_bytes = BYTES,
				  .throttle_high = 90,
				  .throttle_low = 75 };
	struct conf_group group = { .name = "g",
				    .port = RIG_PORT,
				    .congestion = CONF_CONGESTION_RENO };
	struct conf wanted = {
		.pools = &pool, .n_pools = 1, .groups = &group, .n_groups = 1
	};
	const struct stack_group *g;

	ck_assert_int_eq(registry_apply(&reg, &wanted), 0);
	take_mail();
	g = rig.st->groups[1];
	ck_assert_uint_eq(g->congestion, CC_RENO);
	ck_assert(!g->ecn);
	group.congestion = CONF_CONGESTION_CUBIC;
	group.ecn = true;
	ck_assert_int_eq(registry_apply(&reg, &wanted), 0);
	take_mail();
	ck_assert_uint_eq(g->congestion, CC_CUBIC);
	ck_assert(g->ecn);
}
END_TEST

UNIT_MAIN("daemon/registry",
	  UNIT_CASE("all", up, down, test_own_group_goes_with_its_pool,
		    test_own_group_whose_pool_could_not_be_told_is_not_found,
		    test_own_group_that_could_not_be_made_is_undone,
		    test_group_settings_of_the_stack_follow_the_configuration))
