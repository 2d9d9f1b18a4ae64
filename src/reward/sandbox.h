/* Code that nobody has read, run by bubblewrap (bwrap) where it can do no harm:
 *
 *     it sees        the system's programs and libraries (/usr, read-only), an empty /tmp of 64 MiB of its own, and nothing else: no home,
 *                    no data, no environment, no network but its own loopback, no process outside, no user but "nobody" where we are root
 *     it may take    `seconds` of processor time a process, three times as much by the clock, `memory_mib` of address space a process, 16
 *                    processes, files of 16 MiB
 *     it ends        with us, with its time, and with all that it has started
 *
 * These are the kernel's namespaces and limits (setrlimit by prlimit).  Where there is no bwrap, or the kernel does not let it make
 * namespaces, nothing is run at all. */
#ifndef HONE_REWARD_SANDBOX_H
#define HONE_REWARD_SANDBOX_H

#include <stddef.h>

#include "util/err.h"

struct sandbox_limits {
    size_t seconds, memory_mib;
};

/* The arguments that run a command (its program is found in /usr/local/bin, /usr/bin and /bin) in the sandbox: fresh, for child_job's
 * argv.  A command that cannot be started ends with code 127 or 126, as a shell has it. */
char **sandbox_argv(const struct sandbox_limits *limits, const char *const *command);
void sandbox_argv_free(char **argv);

/* What the clock may show before it is ended. */
double sandbox_seconds(const struct sandbox_limits *limits);

/* Does it work here?  -1 and a sentence if not. */
int sandbox_check(struct err *err);

#endif
