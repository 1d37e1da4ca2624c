/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/mailbox.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"

int mailbox_init(struct mailbox *box, uint32_t max)
{
	int err;

	*box = (struct mailbox){ .max = max, .fd = -1 };
	box->tail = &box->head;
	err = pthread_mutex_init(&box->lock, NULL);
	if (err != 0)
		return -err;
	box->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (box->fd < 0) {
		err = errno;
		pthread_mutex_destroy(&box->lock);
		return -err;
	}
	return 0;
}

void mailbox_fini(struct mailbox *box)
{
	assert(box->head == NULL);
	close(box->fd);
	pthread_mutex_destroy(&box->lock);
}

/* With the lock held: is there a place for one more? */
static int mailbox_room(const struct mailbox *box)
{
	if (box->closed)
		return -EPIPE;
	return box->n + box->reserved >= box->max ? -EAGAIN : 0;
}

/* Likewise. */
static void mailbox_append(struct mailbox *box, struct mail *mail)
{
	static const uint64_t one = 1;

	mail->next = NULL;
	*box->tail = mail;
	box->tail = &mail->next;
	box->n++;
	/* Fails only when it is readable already. */
	if (write(box->fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
}

int mailbox_post(struct mailbox *box, struct mail *mail)
{
	int err;

	pthread_mutex_lock(&box->lock);
	err = mailbox_room(box);
	if (!err)
		mailbox_append(box, mail);
	pthread_mutex_unlock(&box->lock);
	return err;
}

int mailbox_reserve(struct mailbox *box)
{
	int err;

	pthread_mutex_lock(&box->lock);
	err = mailbox_room(box);
	box->reserved += !err;
	pthread_mutex_unlock(&box->lock);
	return err;
}

void mailbox_unreserve(struct mailbox *box)
{
	pthread_mutex_lock(&box->lock);
	box->reserved--;
	pthread_mutex_unlock(&box->lock);
}

int mailbox_post_reserved(struct mailbox *box, struct mail *mail)
{
	int err;

	pthread_mutex_lock(&box->lock);
	err = box->closed ? -EPIPE : 0;
	box->reserved--;
	if (!err)
		mailbox_append(box, mail);
	pthread_mutex_unlock(&box->lock);
	return err;
}

uint32_t mailbox_run(struct mailbox *box, void *receiver)
{
	struct mail *mail, *next;
	uint64_t value;
	uint32_t n = 0;

	pthread_mutex_lock(&box->lock);
	if (read(box->fd, &value, sizeof(value)) < 0)
		assert(errno == EAGAIN);
	mail = box->head;
	box->head = NULL;
	box->tail = &box->head;
	box->n = 0;
	pthread_mutex_unlock(&box->lock);

	for (; mail != NULL; mail = next, n++) {
		next = mail->next;
		mail->run(mail, receiver);
	}
	return n;
}

void mailbox_close(struct mailbox *box)
{
	pthread_mutex_lock(&box->lock);
	box->closed = true;
	pthread_mutex_unlock(&box->lock);
}
