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

int mailbox_post(struct mailbox *box, struct mail *mail)
{
	static const uint64_t one = 1;
	int err = 0;

	mail->next = NULL;
	pthread_mutex_lock(&box->lock);
	if (box->closed)
		err = -EPIPE;
	else if (box->n >= box->max)
		err = -EAGAIN;
	else {
		*box->tail = mail;
		box->tail = &mail->next;
		box->n++;
		/* Fails only when it is readable already. */
		if (write(box->fd, &one, sizeof(one)) < 0)
			assert(errno == EAGAIN);
	}
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
