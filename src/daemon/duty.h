/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_DAEMON_DUTY_H
#define XTCP_DAEMON_DUTY_H

/* What the operator lets a backend do: "drain", "vacate", "resume backend". */
enum backend_duty {
	BACKEND_SERVES,
	BACKEND_DRAINS, /* takes no new connections */
	/* ... and each one that it has moves to another backend once nothing of
	 * it is in hand, if there is one to go to */
	BACKEND_VACATES,
};

#endif
