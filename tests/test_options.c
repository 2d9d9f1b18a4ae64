#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/options.h"
#include "util/file.h"
#include "util/mem.h"

struct shared_args {
    double learning_rate;
    int64_t max_steps;
};

struct args {
    struct shared_args shared;
    const char *model;
    struct strings rewards, whats;
    bool shuffle, full;
    int loss_type;
    double top_p;
};

static const char *const losses[] = {"sigmoid", "hinge", "ipo", "apo_zero", NULL};
static const struct option own[] = {
    {"model", OPTION_STRING, offsetof(struct args, model), NULL, "the model", .required = true,
     .value = "PATH", .alias = "model_name_or_path"},
    {"reward", OPTION_LIST, offsetof(struct args, rewards), NULL, "reward models"},
    {"what", OPTION_LIST, offsetof(struct args, whats), "sft,dpo", "what to measure",
     .commas = true},
    {"shuffle", OPTION_BOOL, offsetof(struct args, shuffle), "true", "new order in each epoch"},
    {"full", OPTION_BOOL, offsetof(struct args, full), NULL, "train all weights"},
    {"loss_type", OPTION_CHOICE, offsetof(struct args, loss_type), NULL, "the loss",
     .choices = losses},
    {"top_p", OPTION_FLOAT, offsetof(struct args, top_p), "1", "nucleus", .min = 0, .max = 1,
     .above_min = true},
};
static const struct option shared[] = {
    {"learning_rate", OPTION_FLOAT, offsetof(struct shared_args, learning_rate), "5e-5",
     "the step size", .max = 1},
    {"max_steps", OPTION_INT, offsetof(struct shared_args, max_steps), "-1", "steps; -1: by epochs",
     .min = -1},
};
static const struct option_group groups[] = {
    {"Own", own, ARRAY_LEN(own), 0},
    {"Training", shared, ARRAY_LEN(shared), offsetof(struct args, shared)},
};
static const struct option_spec spec = {
    .command = "try",
    .summary = "Tries the options.",
    .usage = "hone try --model M [FILE]",
    .example = "hone try --model m",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
    .operand = "FILE",
    .max_operands = 1,
};

static int parse(struct options *o, struct args *a, struct err *err, ...)
{
    char *argv[32] = {(char *)(uintptr_t) "try"};
    int argc = 1;
    va_list ap;
    va_start(ap, err);
    for (char *s; (s = va_arg(ap, char *));)
        argv[argc++] = s;
    va_end(ap);
    err->text[0] = 0;
    return options_parse(o, &spec, a, argc, argv, err);
}

/* The command line is refused with a sentence that has `part` in it. */
#define ASSERT_REFUSED(part, ...)                                                                  \
    do {                                                                                           \
        struct options o_;                                                                         \
        struct args a_;                                                                            \
        struct err err_;                                                                           \
        assert_int_equal(parse(&o_, &a_, &err_, __VA_ARGS__, NULL), -1);                           \
        if (!strstr(err_.text, part))                                                              \
            fail_msg("'%s' is not in: %s", part, err_.text);                                       \
        options_release(&o_);                                                                      \
    } while (0)

static void test_defaults(void **state)
{
    (void)state;
    struct options o;
    struct args a;
    struct err err;
    assert_int_equal(parse(&o, &a, &err, "--model", "m", NULL), 0);
    assert_string_equal(a.model, "m");
    assert_int_equal(a.rewards.n, 0);
    assert_int_equal(a.whats.n, 2);
    assert_string_equal(a.whats.data[1], "dpo");
    assert_true(a.shuffle);
    assert_false(a.full);
    assert_int_equal(a.loss_type, 0);
    assert_true(a.shared.learning_rate == 5e-5 && a.top_p == 1 && a.shared.max_steps == -1);
    assert_true(options_given(&o, "model"));
    assert_false(options_given(&o, "learning-rate"));
    options_release(&o);
}

static void test_command_line(void **state)
{
    (void)state;
    struct options o;
    struct args a;
    struct err err;
    assert_int_equal(parse(&o, &a, &err, "--model_name_or_path=m=1", "--learning-rate=1e-4",
                           "--max_steps", "1e3", "--reward", "r1", "--reward", "r2,x", "--what",
                           "ppo,grpo", "--no-shuffle", "--full", "True", "--loss-type", "apo-zero",
                           "--top-p", "0.25", "--", "--file", NULL),
                     0);
    assert_string_equal(a.model, "m=1");
    assert_true(a.shared.learning_rate == 1e-4 && a.shared.max_steps == 1000 && a.top_p == 0.25);
    assert_int_equal(a.rewards.n, 2);
    assert_string_equal(a.rewards.data[1], "r2,x");
    assert_int_equal(a.whats.n, 2);
    assert_string_equal(a.whats.data[0], "ppo");
    assert_false(a.shuffle);
    assert_true(a.full);
    assert_int_equal(a.loss_type, 3);
    assert_int_equal(o.operands.n, 1);
    assert_string_equal(o.operands.data[0], "--file");
    options_release(&o);

    assert_int_equal(parse(&o, &a, &err, "--model", "a", "--model", "b", "--full=false",
                           "--max-steps", "-1", NULL),
                     0);
    assert_string_equal(a.model, "b");
    assert_false(a.full);
    assert_int_equal(a.shared.max_steps, -1);
    options_release(&o);
}

static void test_refusals(void **state)
{
    (void)state;
    ASSERT_REFUSED("--model is missing", "--full");
    ASSERT_REFUSED("there is no option '--learning-rat': did you mean '--learning-rate'?",
                   "--learning-rat", "1");
    ASSERT_REFUSED("did you mean '--learning-rate'?", "--learnnig_rate=1");
    ASSERT_REFUSED("there is no option '--xyzzy'", "--xyzzy");
    ASSERT_REFUSED("there is no option '--no-model'", "--no-model");
    ASSERT_REFUSED("there is no option '-m'", "-m", "x");
    ASSERT_REFUSED("'--model' needs a value", "--model");
    ASSERT_REFUSED("'--model' needs a value", "--model", "--full");
    ASSERT_REFUSED("--learning-rate is 'abc': it must be a finite number", "--learning-rate",
                   "abc");
    ASSERT_REFUSED("must be a finite number", "--learning-rate", "nan");
    ASSERT_REFUSED("must be a finite number", "--learning-rate", "inf");
    ASSERT_REFUSED("must be a finite number", "--learning-rate=");
    ASSERT_REFUSED("--learning-rate is 2, out of range: it must be at least 0 and at most 1",
                   "--learning-rate", "2");
    ASSERT_REFUSED("--top-p is 0, out of range: it must be more than 0 and at most 1", "--top-p",
                   "0");
    ASSERT_REFUSED("--max-steps is -2, out of range: it must be at least -1", "--max-steps", "-2");
    ASSERT_REFUSED("must be a whole number", "--max-steps", "1.5");
    ASSERT_REFUSED("must be a whole number", "--max-steps", "99999999999999999999");
    ASSERT_REFUSED("--full is 'maybe': it must be true or false", "--full=maybe");
    ASSERT_REFUSED("did you mean 'sigmoid'?", "--loss-type", "sigmod");
    ASSERT_REFUSED("choose one of sigmoid, hinge, ipo, apo_zero", "--loss-type", "xxxxxxxxx");
    ASSERT_REFUSED("'b' is one FILE too many", "--model", "m", "a", "b");
}

static char *temporary(const char *text)
{
    char *path = xstrdup("/tmp/hone-options-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(file_write(path, text, strlen(text), NULL), 0);
    return path;
}

static void test_config(void **state)
{
    (void)state;
    char *path = temporary(
        "# a comment\nmodel_name_or_path: 'from file'\nlearning-rate: 1.0e-3\nreward: [a, \"b\"]\n"
        "what:\n  - x\n  - y\nshuffle: false\nloss_type: ipo\nmax_steps: null\n");
    struct options o;
    struct args a;
    struct err err;
    assert_int_equal(
        parse(&o, &a, &err, "--reward", "c", "--config", path, "--loss-type", "hinge", NULL), 0);
    assert_string_equal(a.model, "from file");
    assert_true(a.shared.learning_rate == 1e-3 && a.shared.max_steps == -1);
    assert_int_equal(a.rewards.n, 1); /* the command line wins */
    assert_string_equal(a.rewards.data[0], "c");
    assert_int_equal(a.whats.n, 2); /* the file wins over the default */
    assert_string_equal(a.whats.data[1], "y");
    assert_false(a.shuffle);
    assert_int_equal(a.loss_type, 1);
    options_release(&o);
    unlink(path);
    free(path);
}

static void test_config_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"model: m\nlearning_rte: 1\n",
         "line 2: there is no option 'learning_rte': did you mean 'learning_rate'?"},
        {"model: m\nqqqqqq: 1\n", "line 2: there is no option 'qqqqqq' of hone try: remove it"},
        {"model: m\nmodel: n\n", "line 2: 'model' stands there twice"},
        {"model: [a, b]\n", "line 1: model takes one value, not a list"},
        {"model: {a: b}\n", "line 1: model must be a plain value"},
        {"reward: [[a]]\n", "an entry of the list is no plain value"},
        {"top_p: 1.5\nmodel: m\n", "line 1: top_p is 1.5, out of range"},
        {"- a\n", "line 1: expected lines like"},
        {"model: m\n  x: [\n", "is not YAML"},
        {"model: &a m\nreward: *a\n", "YAML alias"},
        {"model: m\n---\nmodel: n\n", "a second document begins"},
        {"model: \"a\\0b\"\n", "0 byte"},
        {"[1]: m\n", "expected the name of an option"},
        {"# nothing\n", "--model is missing"},
        {"", "--model is missing"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *path = temporary(cases[i].text);
        ASSERT_REFUSED(cases[i].part, "--config", path);
        unlink(path);
        free(path);
    }
    ASSERT_REFUSED("cannot open '/nonexistent/x.yaml'", "--model", "m", "--config",
                   "/nonexistent/x.yaml");
}

static void test_yaml_round_trip(void **state)
{
    (void)state;
    struct options o, again;
    struct args a, b;
    struct err err;
    struct buf yaml, yaml_again;
    assert_int_equal(parse(&o, &a, &err, "--model", "a \"quoted\"\\ path: #1\n\xc3\xa4",
                           "--learning-rate", "1e-07", "--reward", "no", "--reward", "1", "--full",
                           "--loss-type", "ipo", NULL),
                     0);
    buf_init(&yaml, 1 << 16);
    buf_init(&yaml_again, 1 << 16);
    options_write_yaml(&o, &yaml);
    assert_non_null(strstr(yaml.data, "learning_rate: 1.0e-07\n"));
    assert_non_null(strstr(yaml.data, "reward: [\"no\", \"1\"]\n"));
    char *path = temporary(yaml.data);
    assert_int_equal(parse(&again, &b, &err, "--config", path, NULL), 0);
    assert_string_equal(a.model, b.model);
    options_write_yaml(&again, &yaml_again);
    assert_string_equal(yaml.data, yaml_again.data);
    unlink(path);
    free(path);
    buf_release(&yaml);
    buf_release(&yaml_again);
    options_release(&o);
    options_release(&again);
}

static void test_help(void **state)
{
    (void)state;
    struct options o;
    struct args a;
    struct err err;
    assert_int_equal(parse(&o, &a, &err, "--model", "m", "--check", NULL), 2);
    options_release(&o);
    assert_int_equal(parse(&o, &a, &err, "--check", NULL), -1); /* --model is missing */
    options_release(&o);
    assert_int_equal(parse(&o, &a, &err, "--help", NULL), 1);
    options_release(&o);
    struct buf text;
    buf_init(&text, 1 << 16);
    options_help(&spec, &text);
    static const char *const parts[] = {
        "usage: hone try", "Own:",           "Training:",       "--model PATH",
        "(required)",      "--[no-]shuffle", "(default: true)", "--learning-rate X",
        "(default: 5e-5)", "sigmoid, hinge", "--config",        "--help",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (!strstr(text.data, parts[i]))
            fail_msg("'%s' is not in:\n%s", parts[i], text.data);
    buf_release(&text);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = {"generate", "grpo", "reward", "dpo"};
    assert_string_equal(options_nearest("genrate", names, 4), "generate");
    assert_string_equal(options_nearest("gen", names, 4), "generate");
    assert_string_equal(options_nearest("dop", names, 4), "dpo");
    assert_null(options_nearest("zzz", names, 4));
    assert_null(options_nearest("", names, 4));
    char longest[300];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_null(options_nearest(longest, names, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_config_refusals),
        cmocka_unit_test(test_yaml_round_trip),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
