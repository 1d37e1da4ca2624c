/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * journal - where the daemon's log lines go.
 *
 * Under systemd, when standard error is the journal's stream, each line goes
 * to the journal itself with its structured fields (XTCP_GROUP, XTCP_BACKEND),
 * so that "journalctl XTCP_GROUP=im" finds them. Elsewhere: a line on
 * standard error.
 */
#ifndef XTCP_DAEMON_JOURNAL_H
#define XTCP_DAEMON_JOURNAL_H

#include <stdbool.h>

/* Sets the sink of base/log.h. Before a second thread starts. */
void journal_init(void);

/* Is standard error the stream that $JOURNAL_STREAM names? */
bool journal_is_stderr(void);

#endif
