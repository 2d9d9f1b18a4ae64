/* The values of a template, with Python's meanings where they show: str(), repr(), ==, <, truth.
 *
 * All live in the arena of the render; strings may borrow from what came in.  Integers have 64 bits:
 * what passes them is refused, never wrapped.  Dicts keep the order of insertion. */
#ifndef HONE_JINJA_VALUE_H
#define HONE_JINJA_VALUE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "jinja/arena.h"

enum value_kind {
    VALUE_UNDEFINED, /* `str` says what is undefined */
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_STRING,
    VALUE_LIST,
    VALUE_DICT,
    VALUE_NAMESPACE,
    VALUE_MACRO,
    VALUE_LOOP,
    VALUE_FUNCTION,
};

struct value {
    enum value_kind kind;
    bool markup; /* a string that safe or escape made: Python's Markup, see builtin_run() */
    union {
        bool truth;
        int64_t whole;
        double real;
        struct str str;
        struct list *list;
        struct dict *dict; /* of namespaces, too */
        struct macro *macro;
        struct loop *loop;
        const struct function *function;
    };
};

/* Python has many things that can be gone through; what else can be done with them differs. */
enum list_form {
    LIST,
    LIST_TUPLE,
    LIST_RANGE,
    LIST_VIEW,      /* dict.keys(), .values(), .items(): no index */
    LIST_GENERATOR, /* map, select ..: neither index nor length, and once */
};

struct list {
    enum list_form form;
    bool spent; /* a generator that was gone through */
    struct value *items;
    size_t n, capacity;
};

struct dict {
    struct value *keys, *values;
    size_t n, capacity;
    size_t item; /* 1 + its index in the list that is tracked (jinja.h); 0: in none */
};

/* A function of the environment, or a method of `self`. */
struct function {
    int what;
    struct value self;
    struct str name;
};

#define LIST_MAX ((size_t)1 << 20)

struct value value_none(void);
struct value value_bool(bool b);
struct value value_int(int64_t i);
struct value value_float(double f);
struct value value_str(struct str s);
struct value value_undefined(struct str what);
struct value value_list(struct arena *a, enum list_form form);
struct value value_dict(struct arena *a);
struct value value_pair(struct arena *a, struct value first, struct value second); /* a tuple */

void list_add(struct arena *a, struct list *l, struct value v);
/* Lists and dicts are no keys; -1 where the key is not there. */
bool value_is_key(struct value v);
ptrdiff_t dict_find(struct arena *a, const struct dict *d, struct value key);
ptrdiff_t dict_find_str(const struct dict *d, struct str key);
void dict_set(struct arena *a, struct dict *d, struct value key, struct value v);

/* From JSON; strings stay the JSON's.  The dicts in a list that is tracked know their index. */
struct value value_from_json(struct arena *a, const json_t *json, bool tracked);

const char *value_type(struct value v); /* as Python names it, for sentences */
bool value_is_number(struct value v);   /* bools are */
double value_real(struct value v);      /* of a number */
bool value_truth(struct value v);
bool value_equal(struct arena *a, struct value x, struct value y);
/* < 0, 0, > 0; fails where Python has no order.  *nan: one of them is no number, all of <, > are false. */
int value_compare(struct arena *a, struct value x, struct value y, bool *nan);

struct str value_to_str(struct arena *a, struct value v); /* str() */
void value_repr(struct text *out, struct value v);        /* repr() */
void float_repr(char out[32], double x);

struct json_style {
    bool ascii, sort_keys;
    bool indented;
    struct str indent; /* of one level */
    struct str item_separator, key_separator;
};
void value_to_json(struct text *out, struct value v, const struct json_style *style);

/* The values that a for loop, `in` or a filter goes through, as an array of the arena; *n: how many.
 * Of a dict its keys, of a string its characters.  A generator is then spent. */
const struct value *value_items(struct arena *a, struct value v, size_t *n);
bool value_is_iterable(struct value v);

#endif
