/* Errors.
 *
 * A function that can fail because of something outside the program (a file, a flag, a request) returns -1 (or NULL) and fills a `struct err`
 * with one sentence fit for the user: what, where, why and what to do.  Lower case, the subject in quotes, no full stop, one line: control
 * characters in what it quotes become spaces.  Library code never prints and never exits; only src/cmd does.  A broken precondition is the
 * program's own fault: BUG() says where, and aborts. */
#ifndef HONE_UTIL_ERR_H
#define HONE_UTIL_ERR_H

struct err {
    char text[1024];
};

/* Format the sentence; always returns -1, so that `return err_set(..)` reads well.  `err` may be NULL. */
int err_set(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Put "what: " in front of the sentence that is there; returns -1. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

_Noreturn void bug_at(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define BUG(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)
#define ENSURE(condition) ((condition) ? (void)0 : BUG("'%s' does not hold", #condition))

#endif
