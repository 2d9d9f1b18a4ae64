/* Learning-rate factors against what transformers' schedules give (golden values of a TRL run of 20
 * steps, 5 of them warm-up, cosine), and their ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "optim/schedule.h"

static void near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("got %.17g, want %.17g", got, want);
}

static enum schedule named(const char *name)
{
    for (int i = 0; schedule_names[i]; i++)
        if (!strcmp(schedule_names[i], name))
            return (enum schedule)i;
    fail_msg("no schedule is called '%s'", name);
    return SCHEDULE_CONSTANT;
}

static void test_cosine_as_transformers(void **state)
{
    (void)state;
    /* learning_rate of each step divided by the highest, 1e-2 */
    static const double want[20] = {
        0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.9890738003669028, 0.9567727288213004, 0.9045084971874737,
        0.8345653031794291, 0.75, 0.6545084971874737, 0.5522642316338267, 0.4477357683661734,
        0.3454915028125263, 0.25, 0.1654346968205710, 0.0954915028125263, 0.0432272711786995,
        0.0109261996330972,
    };
    for (size_t s = 0; s < 20; s++)
        near(schedule_factor(named("cosine"), s, 5, 20), want[s], 1e-14);
    near(schedule_factor(named("cosine"), 20, 5, 20), 0, 0);
    near(schedule_factor(named("cosine"), 31, 5, 20), 0, 0);
}

static void test_linear(void **state)
{
    (void)state;
    enum schedule linear = named("linear");
    near(schedule_factor(linear, 0, 0, 3), 1, 0);
    near(schedule_factor(linear, 1, 0, 3), 2. / 3, 0);
    near(schedule_factor(linear, 2, 0, 3), 1. / 3, 0);
    near(schedule_factor(linear, 3, 0, 3), 0, 0);
    near(schedule_factor(linear, 0, 4, 10), 0, 0);
    near(schedule_factor(linear, 3, 4, 10), 0.75, 0);
    near(schedule_factor(linear, 4, 4, 10), 1, 0);
    near(schedule_factor(linear, 7, 4, 10), 0.5, 0);
    near(schedule_factor(linear, 10, 4, 10), 0, 0);
}

static void test_constant(void **state)
{
    (void)state;
    near(schedule_factor(named("constant"), 0, 5, 20), 1, 0);
    near(schedule_factor(named("constant"), 99, 5, 20), 1, 0);
    near(schedule_factor(named("constant_with_warmup"), 0, 5, 20), 0, 0);
    near(schedule_factor(named("constant_with_warmup"), 3, 5, 20), 0.6, 0);
    near(schedule_factor(named("constant_with_warmup"), 5, 5, 20), 1, 0);
    near(schedule_factor(named("constant_with_warmup"), 99, 5, 20), 1, 0);
}

/* A warm-up as long as the run or longer, and a run of no steps, divide by nothing. */
static void test_degenerate(void **state)
{
    (void)state;
    static const char *const names[] = {"linear", "cosine"};
    for (size_t i = 0; i < 2; i++) {
        enum schedule s = named(names[i]);
        near(schedule_factor(s, 4, 8, 5), 0.5, 0);
        near(schedule_factor(s, 8, 8, 5), 0, 0);
        near(schedule_factor(s, 5, 5, 5), 0, 0);
        near(schedule_factor(s, 0, 0, 0), 0, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cosine_as_transformers), cmocka_unit_test(test_linear),
        cmocka_unit_test(test_constant),               cmocka_unit_test(test_degenerate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
