/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/fdstore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/log.h"

struct fdstore_entry {
	char *name; /* heap */
	int fd; /* -1: taken */
};

struct fdstore {
	struct fdstore_entry *entries; /* heap */
	int n;
};

bool fdstore_offered(void)
{
	const char *address = getenv("NOTIFY_SOCKET");

	return address && *address != '\0';
}

int fdstore_open(struct fdstore **ret_store)
{
	struct fdstore *store = calloc(1, sizeof(*store));
	char **names = NULL;
	int n;

	if (!store)
		return -ENOMEM;
	n = sd_listen_fds_with_names(1, &names);
	if (n < 0) {
		log_warn("descriptors of an earlier process: %s", strerror(-n));
		n = 0;
	}
	store->entries = calloc((size_t)n + 1, sizeof(*store->entries));
	for (; store->entries && store->n < n; store->n++) {
		store->entries[store->n].name = names[store->n];
		store->entries[store->n].fd = SD_LISTEN_FDS_START + store->n;
	}
	if (!store->entries) {
		for (int i = 0; i < n; i++)
			free(names[i]);
		free(store);
		store = NULL;
	}
	free(names);
	*ret_store = store;
	return store ? 0 : -ENOMEM;
}

int fdstore_take(struct fdstore *store, const char *name)
{
	for (int i = 0; store && i < store->n; i++) {
		struct fdstore_entry *entry = &store->entries[i];
		int fd = entry->fd;

		if (fd < 0 || strcmp(entry->name, name) != 0)
			continue;
		entry->fd = -1;
		return fd;
	}
	return -ENOENT;
}

/* One of the name was taken: forgetting the name would forget that, too. */
static bool fdstore_name_is_taken(const struct fdstore *store, const char *name)
{
	for (int i = 0; i < store->n; i++)
		if (store->entries[i].fd < 0 &&
		    strcmp(store->entries[i].name, name) == 0)
			return true;
	return false;
}

void fdstore_drop_unclaimed(struct fdstore *store)
{
	for (int i = 0; store && i < store->n; i++) {
		struct fdstore_entry *entry = &store->entries[i];

		if (entry->fd < 0)
			continue;
		log_warn(
			"descriptor \"%s\" of an earlier process is of no use: closed",
			entry->name);
		close(entry->fd);
		if (!fdstore_name_is_taken(store, entry->name))
			fdstore_remove(entry->name);
		entry->fd = -1;
	}
}

void fdstore_close(struct fdstore *store)
{
	if (!store)
		return;
	for (int i = 0; i < store->n; i++) {
		if (store->entries[i].fd >= 0)
			close(store->entries[i].fd);
		free(store->entries[i].name);
	}
	free(store->entries);
	free(store);
}

bool fdstore_name_is_good(const char *name)
{
	size_t n = strlen(name);

	for (const char *c = name; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f || *c == ':')
			return false;
	return n > 0 && n <= FDSTORE_NAME_MAX;
}

int fdstore_put(const char *name, int fd)
{
	char text[FDSTORE_NAME_MAX + 64];
	int rc = -EINVAL;

	/* FDPOLL=0: an end of file or an error is no reason to forget it */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	if (fdstore_name_is_good(name))
		rc = sd_pid_notify_with_fds(0, 0, text, &fd, 1);
	if (rc > 0)
		return 0;
	if (rc == 0)
		rc = -ENOTCONN;
	log_warn("descriptor \"%s\" is not kept over a crash: %s", name,
		 strerror(-rc));
	return rc;
}

void fdstore_remove(const char *name)
{
	char text[FDSTORE_NAME_MAX + 64];

	if (!fdstore_name_is_good(name))
		return;
	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	(void)sd_notify(0, text);
}
