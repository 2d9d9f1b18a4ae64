/* The tests, what stands after `is`, each as Jinja's of the same name. */
#include "jinja/ast.h"
#include "jinja/builtins.h"
#include "jinja/lexer.h"
#include "jinja/operators.h"
#include "jinja/text.h"

static struct value no_more(struct arena *a, const struct args *args, bool result)
{
    args_bind(a, args, "the test", "", NULL);
    return value_bool(result);
}

static struct value is_defined(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, v.kind != VALUE_UNDEFINED);
}

static struct value is_undefined(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, v.kind == VALUE_UNDEFINED);
}

static struct value is_none(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, v.kind == VALUE_NONE);
}

static struct value is_boolean(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, v.kind == VALUE_BOOL);
}

static struct value is_true(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, v.kind == VALUE_BOOL && v.truth);
}

static struct value is_false(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, v.kind == VALUE_BOOL && !v.truth);
}

static struct value is_integer(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, v.kind == VALUE_INT);
}

static struct value is_float(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, v.kind == VALUE_FLOAT);
}

static struct value is_number(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, value_is_number(v));
}

static struct value is_string(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, v.kind == VALUE_STRING);
}

static struct value is_mapping(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, v.kind == VALUE_DICT);
}

static struct value is_iterable(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, value_is_iterable(v) || v.kind == VALUE_LOOP);
}

/* What has a length and takes an index; an undefined value has the methods, if they only fail. */
static struct value is_sequence(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args, value_is_iterable(v) && !(v.kind == VALUE_LIST && v.list->form > LIST_RANGE));
}

static struct value is_callable(struct arena *a, struct value v, const struct args *args)
{
    return no_more(a, args,
                   v.kind == VALUE_MACRO || v.kind == VALUE_FUNCTION || v.kind == VALUE_LOOP || v.kind == VALUE_UNDEFINED);
}

static struct value cased(struct arena *a, struct value v, const struct args *args, bool upper)
{
    struct str s = value_to_str(a, v);
    bool any = false, other = false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c >= 0x80)
            arena_fail(a, "the tests 'lower' and 'upper' are only supported for ASCII");
        any = any || (upper ? char_is_upper(c) : char_is_lower(c));
        other = other || (upper ? char_is_lower(c) : char_is_upper(c));
    }
    return no_more(a, args, any && !other);
}

static struct value is_lower(struct arena *a, struct value v, const struct args *args)
{
    return cased(a, v, args, false);
}

static struct value is_upper(struct arena *a, struct value v, const struct args *args)
{
    return cased(a, v, args, true);
}

static struct value rest_is(struct arena *a, struct value v, struct value by, int64_t rest)
{
    return value_bool(value_equal(a, value_binary(a, '%', v, by), value_int(rest)));
}

static struct value is_odd(struct arena *a, struct value v, const struct args *args)
{
    no_more(a, args, true);
    return rest_is(a, v, value_int(2), 1);
}

static struct value is_even(struct arena *a, struct value v, const struct args *args)
{
    no_more(a, args, true);
    return rest_is(a, v, value_int(2), 0);
}

static struct value other(struct arena *a, const struct args *args)
{
    const struct value *p[MAX_PARAMETERS];
    args_bind(a, args, "the test", "other", p);
    if (!p[0])
        arena_fail(a, "the test needs something to compare with");
    return *p[0];
}

static struct value is_divisible(struct arena *a, struct value v, const struct args *args)
{
    return rest_is(a, v, other(a, args), 0);
}

/* Python's `is`: sure of what has one copy only. */
static struct value is_same(struct arena *a, struct value v, const struct args *args)
{
    struct value w = other(a, args);
    if (v.kind == w.kind && (v.kind == VALUE_INT || v.kind == VALUE_FLOAT || v.kind == VALUE_STRING ||
                             v.kind == VALUE_UNDEFINED || v.kind == VALUE_FUNCTION))
        arena_fail(a, "the test 'sameas' of two values of type %s is not supported: use ==", value_type(v));
    bool same = v.kind == w.kind && (v.kind == VALUE_NONE || (v.kind == VALUE_BOOL && v.truth == w.truth) ||
                                     (v.kind > VALUE_STRING && v.dict == w.dict));
    return value_bool(same);
}

static struct value is_eq(struct arena *a, struct value v, const struct args *args)
{
    return value_bool(value_compared(a, SIGN_EQ, v, other(a, args)));
}

static struct value is_ne(struct arena *a, struct value v, const struct args *args)
{
    return value_bool(value_compared(a, SIGN_NE, v, other(a, args)));
}

static struct value is_lt(struct arena *a, struct value v, const struct args *args)
{
    return value_bool(value_compared(a, '<', v, other(a, args)));
}

static struct value is_le(struct arena *a, struct value v, const struct args *args)
{
    return value_bool(value_compared(a, SIGN_LE, v, other(a, args)));
}

static struct value is_gt(struct arena *a, struct value v, const struct args *args)
{
    return value_bool(value_compared(a, '>', v, other(a, args)));
}

static struct value is_ge(struct arena *a, struct value v, const struct args *args)
{
    return value_bool(value_compared(a, SIGN_GE, v, other(a, args)));
}

static struct value is_in(struct arena *a, struct value v, const struct args *args)
{
    return value_bool(value_compared(a, SIGN_IN, v, other(a, args)));
}

static const struct builtin tests[] = {
    {"!=", is_ne},
    {"<", is_lt},
    {"<=", is_le},
    {"==", is_eq},
    {">", is_gt},
    {">=", is_ge},
    {"boolean", is_boolean},
    {"callable", is_callable},
    {"defined", is_defined},
    {"divisibleby", is_divisible},
    {"eq", is_eq},
    {"equalto", is_eq},
    {"even", is_even},
    {"false", is_false},
    {"float", is_float},
    {"ge", is_ge},
    {"greaterthan", is_gt},
    {"gt", is_gt},
    {"in", is_in},
    {"integer", is_integer},
    {"iterable", is_iterable},
    {"le", is_le},
    {"lessthan", is_lt},
    {"lower", is_lower},
    {"lt", is_lt},
    {"mapping", is_mapping},
    {"ne", is_ne},
    {"none", is_none},
    {"number", is_number},
    {"odd", is_odd},
    {"sameas", is_same},
    {"sequence", is_sequence},
    {"string", is_string},
    {"true", is_true},
    {"undefined", is_undefined},
    {"upper", is_upper},
};

const struct builtin *test_find(struct str name)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (str_is(name, tests[i].name))
            return &tests[i];
    return NULL;
}
