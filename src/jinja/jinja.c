/* The evaluator: goes through the tree and writes. */
#include "jinja/jinja.h"

#include <stdlib.h>
#include <time.h>

#include "jinja/builtins.h"
#include "jinja/operators.h"
#include "jinja/parser.h"
#include "jinja/text.h"
#include "util/mem.h"

#define MAX_TEMPLATE ((size_t)1 << 20)
#define MAX_PARSE ((size_t)256 << 20)
#define MAX_RENDER ((size_t)512 << 20)

struct jinja {
    struct arena arena;
    struct tree tree;
    time_t now; /* when it was read: all its renders have one time */
};

/* Variables of a template, a round of a loop, or a call; names that are not here are looked for in
 * the one around it. */
struct frame {
    struct frame *around;
    struct str *names;
    struct value *values;
    size_t n, capacity;
};

struct macro {
    const struct node *node;
    struct frame *frame; /* where it was defined */
};

/* What `loop` is.  A filter of the loop is asked item by item, as late as Jinja asks it. */
struct loop {
    const struct node *node;
    struct frame *frame; /* around the loop */
    const struct value *items;
    size_t n, next; /* items, and the first that was not asked for */
    size_t round;   /* from 0 */
    struct value now, before, after;
    bool has_before, has_after;
};

struct machine {
    struct arena *a;
    struct frame *frame;
    struct text *capture; /* where to write; NULL: to `out` */
    struct buf *out;
    struct jinja_marks *marks;
    size_t item; /* the tracked one whose round this is */
    struct str captured;
};

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE };

static struct value eval(struct machine *m, const struct node *n);
static enum flow run(struct machine *m, const struct nodes *body);

/* ---- variables ---- */

static struct frame *frame_new(struct machine *m, struct frame *around)
{
    struct frame *f = arena_zeroed(m->a, sizeof *f);
    f->around = around;
    return f;
}

static void frame_set(struct machine *m, struct frame *f, struct str name, struct value v)
{
    size_t i = 0;
    while (i < f->n && !str_same(f->names[i], name))
        i++;
    if (i == f->n) {
        size_t capacity = f->capacity;
        f->names = arena_grow(m->a, f->names, f->n, &capacity, sizeof *f->names);
        f->values = arena_grow(m->a, f->values, f->n, &f->capacity, sizeof *f->values);
        f->names[f->n++] = name;
    }
    f->values[i] = v;
}

static const struct value *frame_find(const struct frame *f, struct str name)
{
    for (; f; f = f->around)
        for (size_t i = 0; i < f->n; i++)
            if (str_same(f->names[i], name))
                return &f->values[i];
    return NULL;
}

static struct value name_value(struct machine *m, struct str name)
{
    static const char *const others[] = {"lipsum", "cycler", "joiner", "caller", "varargs", "kwargs", "self", "super"};
    struct value v;
    const struct value *found = frame_find(m->frame, name);
    if (found)
        return *found;
    if (function_find(m->a, &v, name))
        return v;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (str_is(name, others[i]))
            arena_fail(m->a, "'%s' is not supported", others[i]);
    return value_undefined(name);
}

static void assign(struct machine *m, const struct node *target, struct value v)
{
    if (target->kind == NODE_NAME) {
        frame_set(m, m->frame, target->name, v);
    } else if (target->kind == NODE_ATTR) {
        struct value space = name_value(m, target->a->name);
        if (space.kind != VALUE_NAMESPACE)
            arena_fail(m->a, "'%.*s' is no namespace: its attributes cannot be set", STR_ARG(target->a->name));
        if (target->name.data[0] == '_')
            arena_fail(m->a, "the attribute '%.*s' begins with '_': rename it", STR_ARG(target->name));
        dict_set(m->a, space.dict, value_str(target->name), v);
    } else {
        size_t n;
        const struct value *items = value_items(m->a, v, &n);
        if (n != target->list.n)
            arena_fail(m->a, "%zu values are needed, there are %zu", target->list.n, n);
        for (size_t i = 0; i < n; i++)
            assign(m, target->list.data[i], items[i]);
    }
}

/* ---- loops ---- */

/* The next item that the loop's filter lets through. */
static bool loop_ask(struct machine *m, struct loop *l, struct value *out)
{
    while (l->next < l->n) {
        *out = l->items[l->next++];
        arena_charge(m->a, 1);
        if (!l->node->c)
            return true;
        struct frame *frame = m->frame;
        m->frame = frame_new(m, l->frame);
        assign(m, l->node->a, *out);
        bool passes = value_truth(eval(m, l->node->c));
        m->frame = frame;
        if (passes)
            return true;
    }
    return false;
}

static bool loop_peek(struct machine *m, struct loop *l)
{
    if (!l->has_after)
        l->has_after = loop_ask(m, l, &l->after);
    return l->has_after;
}

/* How many rounds there are, all that are left asked for. */
static size_t loop_length(struct machine *m, struct loop *l)
{
    if (!l->node->c)
        return l->n;
    struct value rest = value_list(m->a, LIST), v;
    if (l->has_after)
        list_add(m->a, rest.list, l->after);
    while (loop_ask(m, l, &v))
        list_add(m->a, rest.list, v);
    struct node *plain = arena_alloc(m->a, sizeof *plain);
    *plain = *l->node;
    plain->c = NULL;
    /* as if they were the last of as many items without a filter */
    size_t before = l->round + 1;
    struct value *items = arena_alloc(m->a, (before + rest.list->n) * sizeof *items);
    memset(items, 0, before * sizeof *items);
    if (rest.list->n)
        memcpy(items + before, rest.list->items, rest.list->n * sizeof *items);
    l->node = plain;
    l->items = items;
    l->n = before + rest.list->n;
    l->next = before + l->has_after;
    return l->n;
}

static struct value loop_attr(struct machine *m, struct loop *l, struct str name)
{
    size_t i = l->round;
    if (str_is(name, "index"))
        return value_int((int64_t)i + 1);
    if (str_is(name, "index0"))
        return value_int((int64_t)i);
    if (str_is(name, "first"))
        return value_bool(i == 0);
    if (str_is(name, "last"))
        return value_bool(!loop_peek(m, l));
    if (str_is(name, "length"))
        return value_int((int64_t)loop_length(m, l));
    if (str_is(name, "revindex"))
        return value_int((int64_t)(loop_length(m, l) - i));
    if (str_is(name, "revindex0"))
        return value_int((int64_t)(loop_length(m, l) - i) - 1);
    if (str_is(name, "previtem"))
        return l->has_before ? l->before : value_undefined(str_of("there is no previous item"));
    if (str_is(name, "nextitem"))
        return loop_peek(m, l) ? l->after : value_undefined(str_of("there is no next item"));
    if (str_is(name, "depth"))
        return value_int(1); /* of recursion */
    if (str_is(name, "depth0"))
        return value_int(0);
    if (str_is(name, "changed") || str_is(name, "cycle"))
        arena_fail(m->a, "loop.%.*s is not supported as it stands here", STR_ARG(name));
    return value_undefined(name);
}

/* ---- calls ---- */

static void eval_args(struct machine *m, const struct nodes *list, struct args *out)
{
    struct list *all = value_list(m->a, LIST).list;
    struct dict *named = NULL;
    for (size_t i = 0; i < list->n; i++) {
        const struct node *arg = list->data[i];
        struct value v = eval(m, arg->a);
        if (!named && (arg->name.n || arg->sign == SIGN_POWER))
            named = value_dict(m->a).dict;
        if (arg->sign == '*') {
            size_t n;
            const struct value *items = value_items(m->a, v, &n);
            for (size_t k = 0; k < n; k++)
                list_add(m->a, all, items[k]);
        } else if (arg->sign == SIGN_POWER) {
            if (v.kind != VALUE_DICT)
                arena_fail(m->a, "** needs a dict, found a %s", value_type(v));
            for (size_t k = 0; k < v.dict->n; k++) {
                if (v.dict->keys[k].kind != VALUE_STRING)
                    arena_fail(m->a, "** needs a dict whose keys are strings");
                dict_set(m->a, named, v.dict->keys[k], v.dict->values[k]);
            }
        } else if (arg->name.n) {
            if (dict_find_str(named, arg->name) >= 0)
                arena_fail(m->a, "the argument '%.*s' is given twice", STR_ARG(arg->name));
            dict_set(m->a, named, value_str(arg->name), v);
        } else {
            list_add(m->a, all, v);
        }
    }
    *out = (struct args){.list = all->items, .n = all->n, .named = named};
}

static struct value call_macro(struct machine *m, const struct macro *macro, const struct args *args)
{
    const struct node *n = macro->node;
    struct frame *frame = frame_new(m, macro->frame);
    if (args->n > n->more.n)
        arena_fail(m->a, "the macro '%.*s' takes %zu arguments, %zu are given", STR_ARG(n->name), n->more.n, args->n);
    for (size_t i = 0; args->named && i < args->named->n; i++) {
        struct str name = args->named->keys[i].str;
        size_t k = 0;
        while (k < n->more.n && !str_same(n->more.data[k]->name, name))
            k++;
        if (k == n->more.n)
            arena_fail(m->a, "the macro '%.*s' has no parameter '%.*s'", STR_ARG(n->name), STR_ARG(name));
        if (k < args->n)
            arena_fail(m->a, "the argument '%.*s' is given twice", STR_ARG(name));
    }
    struct text out = {.arena = m->a};
    struct machine before = *m;
    m->frame = frame;
    m->capture = &out;
    for (size_t i = 0; i < n->more.n; i++) {
        const struct node *parameter = n->more.data[i];
        ptrdiff_t named = args->named ? dict_find_str(args->named, parameter->name) : -1;
        struct value v = i < args->n    ? args->list[i]
                         : named >= 0   ? args->named->values[named]
                         : parameter->a ? eval(m, parameter->a)
                                        : value_undefined(parameter->name);
        frame_set(m, frame, parameter->name, v);
    }
    run(m, &n->list);
    m->frame = before.frame;
    m->capture = before.capture;
    return value_str(text_done(&out));
}

static struct value call(struct machine *m, struct value f, const struct node *n)
{
    struct args args;
    eval_args(m, &n->list, &args);
    m->a->line = n->line;
    if (f.kind == VALUE_MACRO)
        return call_macro(m, f.macro, &args);
    if (f.kind == VALUE_FUNCTION)
        return method_call(m->a, f.function, &args);
    if (f.kind == VALUE_UNDEFINED)
        arena_fail(m->a, "'%.*s' is undefined and cannot be called", STR_ARG(f.str));
    if (f.kind == VALUE_LOOP)
        arena_fail(m->a, "a recursive loop is not supported");
    arena_fail(m->a, "a %s cannot be called", value_type(f));
}

static bool is_cycle(struct machine *m, const struct node *n)
{
    if (n->a->kind != NODE_ATTR || n->a->a->kind != NODE_NAME || !str_is(n->a->name, "cycle"))
        return false;
    const struct value *v = frame_find(m->frame, n->a->a->name);
    return v && v->kind == VALUE_LOOP;
}

static struct value cycle(struct machine *m, const struct node *n)
{
    struct args args;
    eval_args(m, &n->list, &args);
    if (args.n == 0 || args.named)
        arena_fail(m->a, "loop.cycle() needs values to choose from");
    return args.list[frame_find(m->frame, n->a->a->name)->loop->round % args.n];
}

/* ---- expressions ---- */

static struct value attr(struct machine *m, struct value v, struct str name)
{
    return v.kind == VALUE_LOOP ? loop_attr(m, v.loop, name) : value_attr(m->a, v, name);
}

static struct value item(struct machine *m, struct value v, struct value key)
{
    if (v.kind == VALUE_LOOP)
        return key.kind == VALUE_STRING ? loop_attr(m, v.loop, key.str) : value_undefined(str_of("loop"));
    return value_item(m->a, v, key);
}

/* Where a slice begins and ends in n items, as Python's slice.indices(). */
static void slice_bounds(struct machine *m, const struct value part[3], size_t n, int64_t out[3])
{
    int64_t len = (int64_t)n;
    int64_t step = part[2].kind == VALUE_NONE ? 1 : value_index(m->a, part[2], "the step of a slice");
    if (step == 0)
        arena_fail(m->a, "the step of a slice is 0");
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? len - 1 : len;
    for (int i = 0; i < 2; i++) {
        if (part[i].kind == VALUE_NONE) {
            out[i] = (step < 0) == (i == 0) ? high : low;
            continue;
        }
        int64_t at = value_index(m->a, part[i], "the border of a slice");
        if (at < 0)
            at = at < -len ? low : at + len;
        out[i] = at < low ? low : at > high ? high : at;
    }
    out[2] = step < -len - 1 ? -len - 1 : step > len + 1 ? len + 1 : step;
}

static struct value slice(struct machine *m, const struct node *n)
{
    struct value v = eval(m, n->a);
    struct value part[3] = {n->b ? eval(m, n->b) : value_none(), n->c ? eval(m, n->c) : value_none(),
                            n->d ? eval(m, n->d) : value_none()};
    int64_t at[3];
    m->a->line = n->line;
    if (v.kind == VALUE_UNDEFINED)
        arena_fail(m->a, "'%.*s' is undefined", STR_ARG(v.str));
    must_be_plain(m->a, v, "a slice");
    if (v.kind == VALUE_STRING) {
        slice_bounds(m, part, text_length(m->a, v.str), at);
        return value_str(text_slice(m->a, v.str, at[0], at[1], at[2]));
    }
    if (v.kind != VALUE_LIST || v.list->form > LIST_RANGE)
        arena_fail(m->a, "a %s cannot be cut with [:]", value_type(v));
    slice_bounds(m, part, v.list->n, at);
    struct value out = value_list(m->a, v.list->form);
    for (int64_t i = at[0]; at[2] > 0 ? i < at[1] : i > at[1]; i += at[2])
        list_add(m->a, out.list, v.list->items[i]);
    return out;
}

static struct value chain(struct machine *m, const struct node *n)
{
    struct value x = eval(m, n->a);
    for (size_t i = 0; i < n->list.n; i++) {
        struct value y = eval(m, n->list.data[i]->a);
        m->a->line = n->line;
        if (!value_compared(m->a, n->list.data[i]->sign, x, y))
            return value_bool(false);
        x = y;
    }
    return value_bool(true);
}

static struct value apply(struct machine *m, const struct node *n)
{
    struct value v = n->a ? eval(m, n->a) : value_str(m->captured);
    struct args args;
    eval_args(m, &n->list, &args);
    m->a->line = n->line;
    return builtin_run(m->a, n->builtin, n->kind == NODE_TEST, v, &args);
}

static struct value eval_node(struct machine *m, const struct node *n)
{
    struct value v, w;
    struct text out = {.arena = m->a};
    switch (n->kind) {
    case NODE_CONST:
        return n->value;
    case NODE_NAME:
        return name_value(m, n->name);
    case NODE_ATTR:
        v = eval(m, n->a);
        return attr(m, v, n->name);
    case NODE_ITEM:
        v = eval(m, n->a);
        w = eval(m, n->b);
        return item(m, v, w);
    case NODE_SLICE:
        return slice(m, n);
    case NODE_CALL:
        if (is_cycle(m, n))
            return cycle(m, n);
        return call(m, eval(m, n->a), n);
    case NODE_FILTER:
    case NODE_TEST:
        return apply(m, n);
    case NODE_UNARY:
        return value_unary(m->a, n->sign, eval(m, n->a));
    case NODE_BINARY:
        v = eval(m, n->a);
        w = eval(m, n->b);
        m->a->line = n->line;
        return value_binary(m->a, n->sign, v, w);
    case NODE_CONCAT:
        for (size_t i = 0; i < n->list.n; i++)
            text_str(&out, value_to_str(m->a, eval(m, n->list.data[i])));
        return value_str(text_done(&out));
    case NODE_AND:
        v = eval(m, n->a);
        return value_truth(v) ? eval(m, n->b) : v;
    case NODE_OR:
        v = eval(m, n->a);
        return value_truth(v) ? v : eval(m, n->b);
    case NODE_COMPARE:
        return chain(m, n);
    case NODE_CHOICE:
        if (value_truth(eval(m, n->b)))
            return eval(m, n->a);
        return n->c ? eval(m, n->c) : value_undefined(str_of("an if without an else"));
    case NODE_LIST:
    case NODE_TUPLE:
        v = value_list(m->a, n->kind == NODE_LIST ? LIST : LIST_TUPLE);
        for (size_t i = 0; i < n->list.n; i++)
            list_add(m->a, v.list, eval(m, n->list.data[i]));
        return v;
    case NODE_DICT:
        v = value_dict(m->a);
        for (size_t i = 0; i < n->list.n; i += 2) {
            w = eval(m, n->list.data[i]);
            dict_set(m->a, v.dict, w, eval(m, n->list.data[i + 1]));
        }
        return v;
    default:
        BUG("a statement stands in an expression");
    }
}

static struct value eval(struct machine *m, const struct node *n)
{
    arena_enter(m->a);
    arena_charge(m->a, 1);
    m->a->line = n->line;
    struct value v = eval_node(m, n);
    arena_leave(m->a);
    return v;
}

/* ---- statements ---- */

static void put(struct machine *m, struct str s)
{
    if (m->capture) {
        text_str(m->capture, s);
        return;
    }
    arena_charge(m->a, s.n / 64 + 1);
    buf_add(m->out, s.data, s.n);
    if (m->out->overflow)
        arena_fail(m->a, "the output is longer than %zu bytes", m->out->ceiling);
}

static size_t mark_start(struct machine *m, enum jinja_mark_kind kind, size_t which)
{
    struct jinja_marks *marks = m->marks;
    if (!marks)
        return 0;
    if (m->capture) {
        marks->hidden = marks->hidden || kind == JINJA_GENERATION;
        return SIZE_MAX;
    }
    ARRAY_GROW(marks->data, marks->n + 1, marks->capacity);
    marks->data[marks->n] = (struct jinja_mark){kind, which, m->out->len, m->out->len};
    return marks->n++;
}

static void mark_end(struct machine *m, size_t mark)
{
    if (m->marks && mark != SIZE_MAX)
        m->marks->data[mark].end = m->out->len;
}

static enum flow run_for(struct machine *m, const struct node *n)
{
    struct loop *l = arena_zeroed(m->a, sizeof *l);
    struct frame *around = m->frame, *round = frame_new(m, around);
    size_t item_around = m->item;
    *l = (struct loop){.node = n, .frame = around};
    l->items = value_items(m->a, eval(m, n->b), &l->n);
    enum flow flow = FLOW_ON;
    bool any = false;
    for (;; l->round++) {
        if (any) {
            l->before = l->now;
            l->has_before = true;
        }
        if (l->has_after)
            l->now = l->after;
        else if (!loop_ask(m, l, &l->now))
            break;
        l->has_after = false;
        any = true;
        round->n = 0; /* one frame for all rounds: a macro sees the variables of the round that calls it */
        m->frame = round;
        frame_set(m, m->frame, str_of("loop"), (struct value){.kind = VALUE_LOOP, .loop = l});
        assign(m, n->a, l->now);
        bool tracked = l->now.kind == VALUE_DICT && l->now.dict->item;
        size_t mark = 0;
        if (tracked) {
            m->item = l->now.dict->item - 1;
            mark = mark_start(m, JINJA_ITEM, m->item);
        }
        flow = run(m, &n->list);
        if (tracked) {
            mark_end(m, mark);
            m->item = item_around;
        }
        if (flow == FLOW_BREAK)
            break;
    }
    flow = FLOW_ON;
    if (!any && n->more.n) {
        m->frame = frame_new(m, around);
        flow = run(m, &n->more);
    }
    m->frame = around;
    return flow;
}

static enum flow run_if(struct machine *m, const struct node *n)
{
    for (; n; n = n->next)
        if (!n->a || value_truth(eval(m, n->a)))
            return run(m, &n->list);
    return FLOW_ON;
}

static enum flow run_set_block(struct machine *m, const struct node *n)
{
    struct text out = {.arena = m->a}, *capture = m->capture;
    struct frame *around = m->frame;
    m->capture = &out;
    m->frame = frame_new(m, around);
    enum flow flow = run(m, &n->list);
    m->capture = capture;
    m->frame = around;
    if (flow == FLOW_ON) {
        m->captured = text_done(&out);
        assign(m, n->a, n->b ? eval(m, n->b) : value_str(m->captured));
    }
    return flow;
}

static enum flow run_with(struct machine *m, const struct node *n)
{
    struct frame *around = m->frame, *inner = frame_new(m, around);
    for (size_t i = 0; i < n->more.n; i++)
        frame_set(m, inner, n->more.data[i]->a->name, eval(m, n->more.data[i]->b));
    m->frame = inner;
    enum flow flow = run(m, &n->list);
    m->frame = around;
    return flow;
}

static void run_generation(struct machine *m, const struct node *n)
{
    struct frame *around = m->frame;
    size_t mark = mark_start(m, JINJA_GENERATION, m->item);
    m->frame = frame_new(m, around);
    run(m, &n->list);
    m->frame = around;
    mark_end(m, mark);
}

static enum flow run_node(struct machine *m, const struct node *n)
{
    struct macro *macro;
    switch (n->kind) {
    case NODE_TEXT:
        put(m, n->name);
        return FLOW_ON;
    case NODE_PRINT:
        put(m, value_to_str(m->a, eval(m, n->a)));
        return FLOW_ON;
    case NODE_FOR:
        return run_for(m, n);
    case NODE_IF:
        return run_if(m, n);
    case NODE_SET:
        assign(m, n->a, eval(m, n->b));
        return FLOW_ON;
    case NODE_SET_BLOCK:
        return run_set_block(m, n);
    case NODE_WITH:
        return run_with(m, n);
    case NODE_MACRO:
        macro = arena_alloc(m->a, sizeof *macro);
        *macro = (struct macro){.node = n, .frame = m->frame};
        frame_set(m, m->frame, n->name, (struct value){.kind = VALUE_MACRO, .macro = macro});
        return FLOW_ON;
    case NODE_GENERATION:
        run_generation(m, n);
        return FLOW_ON;
    case NODE_BREAK:
        return FLOW_BREAK;
    case NODE_CONTINUE:
        return FLOW_CONTINUE;
    default:
        BUG("an expression stands as a statement");
    }
}

static enum flow run(struct machine *m, const struct nodes *body)
{
    enum flow flow = FLOW_ON;
    arena_enter(m->a);
    for (size_t i = 0; flow == FLOW_ON && i < body->n; i++) {
        arena_charge(m->a, 1);
        m->a->line = body->data[i]->line;
        flow = run_node(m, body->data[i]);
    }
    arena_leave(m->a);
    return flow;
}

/* ---- the whole ---- */

struct jinja *jinja_new(const char *text, size_t n, struct err *err)
{
    if (n > MAX_TEMPLATE) {
        err_set(err, "it has %zu bytes, more than %zu", n, MAX_TEMPLATE);
        return NULL;
    }
    struct jinja *t = xcalloc(1, sizeof *t);
    t->now = time(NULL);
    volatile bool done = false;
    arena_init(&t->arena, MAX_PARSE, err);
    if (!setjmp(t->arena.out)) {
        struct tokens tokens = {0};
        lexer_read(&t->arena, &tokens, text, n);
        parser_read(&t->arena, &t->tree, &tokens);
        done = true;
    }
    if (!done) {
        jinja_free(t);
        return NULL;
    }
    return t;
}

void jinja_free(struct jinja *t)
{
    if (t)
        arena_release(&t->arena);
    free(t);
}

bool jinja_has_generation(const struct jinja *t)
{
    return t->tree.has_generation;
}

void jinja_marks_release(struct jinja_marks *marks)
{
    free(marks->data);
    *marks = (struct jinja_marks){0};
}

static void set_variables(struct machine *m, const json_t *variables, const char *tracked)
{
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)variables, name, v)
        frame_set(m, m->frame, str_of(name), value_from_json(m->a, v, tracked && strcmp(name, tracked) == 0));
}

int jinja_render(const struct jinja *t, const json_t *variables, const char *tracked, struct jinja_marks *marks,
                 struct buf *out, struct err *err)
{
    struct arena *a = xmalloc(sizeof *a);
    size_t before = out->len;
    volatile int rc = -1;
    arena_init(a, MAX_RENDER, err);
    a->now = t->now;
    if (!setjmp(a->out)) {
        struct machine m = {.a = a, .out = out, .marks = marks, .item = JINJA_NO_ITEM};
        m.frame = frame_new(&m, NULL);
        set_variables(&m, variables, tracked);
        run(&m, &t->tree.body);
        rc = 0;
    }
    arena_release(a);
    free(a);
    if (rc) {
        out->len = before;
        out->data[before] = 0;
        if (marks)
            marks->n = 0;
    }
    return rc;
}
