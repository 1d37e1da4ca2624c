/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * capture - xtcpctl capture: packets into a file, or to who reads a pipe.
 */
#ifndef XTCP_CTL_CAPTURE_H
#define XTCP_CTL_CAPTURE_H

/*
 * The command with its own options: argv[0] is "capture". Asks xtcpd at the
 * control socket `path`. Returns what to exit with.
 */
int capture_run(const char *path, int argc, char **argv);

/* Its options, a line each, for --help. */
extern const char capture_help[];

#endif
