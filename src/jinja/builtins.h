/* Filters, tests, methods and functions: tables of what is supported. */
#ifndef HONE_JINJA_BUILTINS_H
#define HONE_JINJA_BUILTINS_H

#include "jinja/value.h"

struct args {
    const struct value *list;
    size_t n;
    const struct dict *named; /* NULL: none */
};

/* A filter, or a test (which gives a bool).  `v` is what it is applied to. */
struct builtin {
    const char *name;
    struct value (*run)(struct arena *a, struct value v, const struct args *args);
    bool takes_markup; /* filters only */
};
const struct builtin *filter_find(struct str name);
const struct builtin *test_find(struct str name);

/* Run one.  Text that safe or escape made is Markup in Jinja, which + and most filters then treat in ways
 * of their own (they escape what they put beside it).  It can be printed, put together with ~, compared, kept and
 * handed on; all else is refused here, by must_be_plain() and by the operators. */
struct value builtin_run(struct arena *a, const struct builtin *b, bool is_test, struct value v, const struct args *args);
void must_be_plain(struct arena *a, struct value v, const char *what);

/* Arguments by the names of their parameters, in `names` with blanks between; v[i] is NULL where one
 * was not given.  Fails for those that are too many or not known. */
#define MAX_PARAMETERS 5
void args_bind(struct arena *a, const struct args *args, const char *what, const char *names,
               const struct value *v[MAX_PARAMETERS]);

/* What `v` has under a name or a key, as Jinja's environment looks for it: attribute first, or item
 * first.  Undefined where there is nothing. */
struct value value_attr(struct arena *a, struct value v, struct str name);
struct value value_item(struct arena *a, struct value v, struct value key);

/* The methods of strings, dicts and lists; false: it has none of that name. */
bool method_find(struct arena *a, struct value *out, struct value self, struct str name);
struct value method_call(struct arena *a, const struct function *f, const struct args *args);

/* range, dict, namespace, raise_exception, strftime_now. */
bool function_find(struct arena *a, struct value *out, struct str name);

/* len(), and whether y has x: of strings, lists and dicts. */
size_t value_length(struct arena *a, struct value v);
bool value_contains(struct arena *a, struct value y, struct value x);

int64_t value_index(struct arena *a, struct value v, const char *what); /* an int or a bool */

#endif
