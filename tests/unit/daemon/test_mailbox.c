/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <pthread.h>

#include "../unit.h"
#include "base/bytes.h"
#include "daemon/mailbox.h"

#define POSTERS 4
#define MAILS 20000

struct numbered {
	struct mail mail;
	uint32_t poster, n;
};

static struct mailbox box;
static struct numbered mails[POSTERS][MAILS];
static uint32_t next_of[POSTERS];
static uint32_t ran;

static void on_mail(struct mail *mail, void *receiver)
{
	struct numbered *m = container_of(mail, struct numbered, mail);

	ck_assert_ptr_eq(receiver, &box);
	ck_assert_uint_eq(m->n, next_of[m->poster]);
	next_of[m->poster]++;
	ran++;
}

static void up(void)
{
	ran = 0;
	for (uint32_t i = 0; i < POSTERS; i++)
		next_of[i] = 0;
	for (uint32_t i = 0; i < POSTERS; i++)
		for (uint32_t n = 0; n < MAILS; n++)
			mails[i][n] =
				(struct numbered){ { NULL, on_mail }, i, n };
}

static bool readable(void)
{
	struct pollfd pfd = { .fd = box.fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

START_TEST(test_mail_runs_once_and_in_order)
{
	ck_assert_int_eq(mailbox_init(&box, 10), 0);
	ck_assert(!readable());
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(mailbox_post(&box, &mails[0][i].mail), 0);
	ck_assert(readable());
	ck_assert_uint_eq(mailbox_run(&box, &box), 3);
	ck_assert_uint_eq(ran, 3);
	ck_assert(!readable());
	ck_assert_uint_eq(mailbox_run(&box, &box), 0);
	mailbox_fini(&box);
}
END_TEST

START_TEST(test_full_and_closed_box_refuse)
{
	ck_assert_int_eq(mailbox_init(&box, 2), 0);
	ck_assert_int_eq(mailbox_post(&box, &mails[0][0].mail), 0);
	ck_assert_int_eq(mailbox_post(&box, &mails[0][1].mail), 0);
	ck_assert_int_eq(mailbox_post(&box, &mails[0][2].mail), -EAGAIN);
	mailbox_close(&box);
	ck_assert_int_eq(mailbox_post(&box, &mails[0][2].mail), -EPIPE);
	ck_assert_uint_eq(mailbox_run(&box, &box), 2);
	mailbox_fini(&box);
}
END_TEST

START_TEST(test_reserved_place_is_nobody_elses)
{
	ck_assert_int_eq(mailbox_init(&box, 2), 0);
	ck_assert_int_eq(mailbox_reserve(&box), 0);
	ck_assert_int_eq(mailbox_post(&box, &mails[0][0].mail), 0);
	ck_assert_int_eq(mailbox_post(&box, &mails[0][1].mail), -EAGAIN);
	ck_assert_int_eq(mailbox_reserve(&box), -EAGAIN);
	ck_assert_int_eq(mailbox_post_reserved(&box, &mails[0][1].mail), 0);
	ck_assert_uint_eq(mailbox_run(&box, &box), 2);
	ck_assert_int_eq(mailbox_reserve(&box), 0);
	mailbox_unreserve(&box);
	ck_assert_int_eq(mailbox_post(&box, &mails[0][2].mail), 0);
	ck_assert_int_eq(mailbox_post(&box, &mails[0][3].mail), 0);
	ck_assert_uint_eq(mailbox_run(&box, &box), 2);
	ck_assert_int_eq(mailbox_reserve(&box), 0);
	mailbox_close(&box);
	ck_assert_int_eq(mailbox_reserve(&box), -EPIPE);
	ck_assert_int_eq(mailbox_post_reserved(&box, &mails[0][4].mail),
			 -EPIPE);
	mailbox_fini(&box);
}
END_TEST

static void *poster(void *arg)
{
	uint32_t i = *(uint32_t *)arg;

	for (uint32_t n = 0; n < MAILS; n++)
		while (mailbox_post(&box, &mails[i][n].mail) == -EAGAIN)
			sched_yield();
	return NULL;
}

START_TEST(test_many_threads_may_post)
{
	pthread_t threads[POSTERS];
	uint32_t numbers[POSTERS];

	ck_assert_int_eq(mailbox_init(&box, 1000), 0);
	for (uint32_t i = 0; i < POSTERS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, poster,
						&numbers[i]),
				 0);
	}
	while (ran < POSTERS * MAILS) {
		struct pollfd pfd = { .fd = box.fd, .events = POLLIN };

		ck_assert_int_eq(poll(&pfd, 1, 10000), 1);
		mailbox_run(&box, &box);
	}
	for (uint32_t i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	mailbox_run(&box, &box);
	mailbox_fini(&box);
}
END_TEST

UNIT_MAIN("daemon/mailbox",
	  UNIT_CASE("all", up, NULL, test_mail_runs_once_and_in_order,
		    test_full_and_closed_box_refuse,
		    test_reserved_place_is_nobody_elses,
		    test_many_threads_may_post))
