/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XTCP_RUN_TARGET_H
#define XTCP_RUN_TARGET_H

/*
 * Looks the command up as execvp(3) does, and judges whether a preload library
 * reaches it; of a script its interpreter, and what env(1) starts for it.
 * Returns 0; -EINVAL: it doesn't, and a line on stderr said why; -ENOENT,
 * -EACCES: there is no such command.
 */
int target_check(const char *command);

#endif
