/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"

#define JOURNAL_FIELDS_MAX 8 /* of ours, beside the fixed ones */
#define JOURNAL_FIELD_BYTES 160

bool journal_is_stderr(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t dev, ino;
	struct stat st;

	/* systemd.exec(5): device and inode number of the socket */
	return stream && sscanf(stream, "%ju:%ju", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == (dev_t)dev &&
	       st.st_ino == (ino_t)ino;
}

/* One datagram; the journal takes it or it is lost, it never blocks for long. */
static void journal_sink(void *ctx, enum log_level level, const char *line,
			 const struct log_field *fields, size_t nfields)
{
	char text[JOURNAL_FIELDS_MAX][JOURNAL_FIELD_BYTES];
	char message[LOG_LINE_BYTES + sizeof("MESSAGE=")];
	char priority[] = "PRIORITY=0";
	struct iovec iov[2 + JOURNAL_FIELDS_MAX];
	size_t n = min_size(nfields, JOURNAL_FIELDS_MAX);

	(void)ctx;
	snprintf(message, sizeof(message), "MESSAGE=%s", line);
	priority[sizeof(priority) - 2] = (char)('0' + (int)level);
	iov[0] = (struct iovec){ message, strlen(message) };
	iov[1] = (struct iovec){ priority, strlen(priority) };
	for (size_t i = 0; i < n; i++) {
		snprintf(text[i], sizeof(text[i]), "%s=%s", fields[i].name,
			 fields[i].value);
		iov[2 + i] = (struct iovec){ text[i], strlen(text[i]) };
	}
	(void)sd_journal_sendv(iov, (int)(2 + n));
}

void journal_init(void)
{
	log_set_sink(journal_is_stderr() ? journal_sink : NULL, NULL);
}
