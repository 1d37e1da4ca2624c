/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * top - xtcpctl top: what xtcpd does, live.
 */
#ifndef XTCP_CTL_TOP_H
#define XTCP_CTL_TOP_H

/*
 * The command with its own options: argv[0] is "top". Asks xtcpd at the control
 * socket `path`. Returns what to exit with.
 */
int top_run(const char *path, int argc, char **argv);

/* Its options, a line each, for --help. */
extern const char top_help[];

#endif
