/* Out of distribution: the Cholesky factor, distances against numpy, the rate at which texts like those of training are flagged,
 * and the flag from outside: in scores, in the rollouts' metrics, as an alarm, in an average, after a kill. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/ood.h"
#include "support/program.h"
#include "util/cholesky.h"
#include "util/mem.h"
#include "util/rng.h"

#define MODEL "--model golden/models/llama --tokenizer tokenizer "
#define TRAIN                                                                                                                  \
    MODEL "--lora-r 4 --quiet --learning-rate 1e-2 --max-length 128 --train-data pairs.jsonl --max-steps 6 --save-steps 2 "

/* ---- the numbers ---- */

static void test_cholesky(void **state)
{
    (void)state;
    enum { N = 90 };
    double *b = xmalloc(N * N * sizeof *b), *a = xmalloc(N * N * sizeof *a), *l = xmalloc(N * N * sizeof *l),
           *w = xmalloc(N * N * sizeof *w);
    double x[N];
    for (uint32_t i = 0; i < N * N; i++)
        b[i] = rng_normal(3, RNG_TEST, i, 0, 0, 0);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++) {
            a[i * N + j] = i == j;
            for (size_t k = 0; k < N; k++)
                a[i * N + j] += b[i * N + k] * b[j * N + k];
        }
    memcpy(l, a, N * N * sizeof *a);
    assert_int_equal(cholesky(l, N), 0);
    cholesky_inverse(w, l, N);
    for (size_t i = 0; i < N; i++)
        x[i] = a[7 * N + i]; /* a times the 7th unit vector */
    cholesky_solve(x, l, N);
    for (size_t i = 0; i < N; i++) {
        expect_near(x[i], i == 7, 1e-9, "solution", i);
        for (size_t j = 0; j < N; j++) {
            double product = 0, one = 0;
            for (size_t k = 0; k < N; k++) {
                product += l[i * N + k] * l[j * N + k];
                one += w[i * N + k] * l[k * N + j];
            }
            expect_near(product, a[i * N + j], 1e-10 * N, "L L^T", i * N + j);
            expect_near(one, i == j, 1e-11, "W L", i * N + j);
        }
    }
    a[5 * N + 5] = -1;
    assert_int_equal(cholesky(a, N), -1);
    free(a);
    free(b);
    free(l);
    free(w);
}

/* Values: numpy 2.4, with Ledoit and Wolf's formula written out as sums over outer products and numpy.linalg.inv. */
static void test_golden_distance(void **state)
{
    (void)state;
    enum { N = 24, W = 4 };
    const float points[][W] = {{0.5f, -0.25f, 3, 9}, {0, 3, 6, 9}, {2.385f, 40, -7, 1}};
    const double want[] = {5.401632061684325, 0.06019526924122862, 56.394044051538245};
    float h[N * W];
    struct err err;
    struct ood o;
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < W; j++)
            h[i * W + j] = (float)(sin(1.3 * (double)i + 2.1 * (double)j) * (j == 2 ? 11 : 1) +
                                   0.5 * cos(0.7 * (double)(i * (j + 1))) + 3 * (double)j);
    assert_int_equal(ood_fit(&o, h, N, W, &err), 0);
    expect_near(o.shrinkage, 0.11761974750630882, 1e-7, "shrinkage", 0);
    for (size_t i = 0; i < 3; i++)
        expect_near(ood_distance(&o, points[i]), want[i], 2e-6 * want[i] + 1e-6, "distance", i);
    ood_release(&o);
    assert_int_equal(ood_fit(&o, h, OOD_LEAST - 1, W, &err), -1);
    assert_non_null(strstr(err.text, "too few"));
    for (size_t i = 0; i < N * W; i++)
        h[i] = 2;
    assert_int_equal(ood_fit(&o, h, N, W, &err), -1);
    assert_non_null(strstr(err.text, "the same"));
}

enum { WIDTH = 60, TEXTS = 300 };

/* States of correlated numbers, of which one is a hundred times as large as the others; `shift` moves them along a direction in
 * which they hardly vary. */
static void make_states(float *h, size_t n, uint32_t seed, double shift)
{
    for (uint32_t i = 0; i < n; i++) {
        double common = rng_normal(seed, RNG_TEST, i, 1000, 0, 0);
        for (uint32_t j = 0; j < WIDTH; j++) {
            double x = common + 0.3 * rng_normal(seed, RNG_TEST, i, j, 0, 0) + (j % 2 ? shift : -shift);
            h[i * WIDTH + j] = (float)(j == 7 ? 100 * x : x);
        }
    }
}

/* Of texts like those of training about one in twenty lies beyond the 95 % that cross-fitting gives, where the distances of the
 * training texts themselves would flag far more; of others nearly all do. */
static void test_rates(void **state)
{
    (void)state;
    float *h = xmalloc(TEXTS * WIDTH * sizeof *h), *like = xmalloc(1000 * WIDTH * sizeof *like),
          *other = xmalloc(1000 * WIDTH * sizeof *other);
    double *cross = xmalloc(TEXTS * sizeof *cross), far = 0, near = 0, own = 0;
    size_t *fold = xmalloc(TEXTS * sizeof *fold), flagged = 0, naive = 0, caught = 0;
    struct err err;
    struct ood o;
    make_states(h, TEXTS, 1, 0);
    make_states(like, 1000, 2, 0);
    make_states(other, 1000, 3, 0.4);
    for (size_t i = 0; i < TEXTS; i++)
        fold[i] = i % OOD_FOLDS;
    assert_int_equal(ood_fit(&o, h, TEXTS, WIDTH, &err), 0);
    assert_int_equal(ood_cross_fit(cross, h, fold, TEXTS, WIDTH, &err), 0);
    for (size_t i = 0; i < TEXTS; i++) { /* the fifteenth furthest */
        size_t above = 0, above_own = 0;
        for (size_t k = 0; k < TEXTS; k++) {
            above += cross[k] > cross[i];
            above_own += ood_distance(&o, h + k * WIDTH) > ood_distance(&o, h + i * WIDTH);
        }
        far = above == TEXTS / 20 ? cross[i] : far;
        own = above_own == TEXTS / 20 ? ood_distance(&o, h + i * WIDTH) : own;
    }
    for (size_t i = 0; i < 1000; i++) {
        near = ood_distance(&o, like + i * WIDTH);
        flagged += near > far;
        naive += near > own;
        caught += ood_distance(&o, other + i * WIDTH) > far;
    }
    print_message("flagged: %zu of 1000 alike (%zu by the training texts' own distances), %zu of 1000 others\n", flagged, naive,
                  caught);
    assert_in_range(flagged, 20, 80);
    assert_true(naive > 2 * flagged);
    assert_in_range(caught, 950, 1000);
    ood_release(&o);
    free(h);
    free(like);
    free(other);
    free(cross);
    free(fold);
}

/* ---- from outside ---- */

static const char *word(uint32_t row, uint32_t what)
{
    static const char *const words[] = {"the", "lamp", "hall", "was", "rain", "began", "window", "open"};
    return words[rng_below(8, 19, RNG_TEST, row, what, 0, 0)];
}

static void write_rows(const char *path, uint32_t first, uint32_t n, bool garbage)
{
    FILE *f = fopen(path, "w");
    for (uint32_t i = first; i < first + n; i++) {
        fprintf(f, "{\"prompt\": \"%s %s\"", word(i, 0), word(i, 1));
        for (uint32_t side = 0; side < 2; side++) {
            fprintf(f, ", \"%s\": \"", side ? "b" : "a");
            for (uint32_t k = 0; k < 5; k++)
                if (garbage)
                    fprintf(f, "%c%c%u%c", '#' + 2 * (int)rng_below(6, 5, RNG_TEST, i, k, side, 0) + 1, 'Q',
                            rng_below(99, 6, RNG_TEST, i, k, side, 0), '}');
                else
                    fprintf(f, "%s%s", k ? " " : "", word(i, 3 + side * 5 + k));
            fprintf(f, "%s\"", side ? " lit" : " dark");
        }
        fprintf(f, ", \"label\": \"b\"}\n");
    }
    fclose(f);
}

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    write_rows("pairs.jsonl", 0, 80, false);
    write_rows("held-out.jsonl", 1000, 400, false);
    write_rows("like.jsonl", 200, 300, false);
    write_rows("garbage.jsonl", 500, 60, true);
    run_ok("$HONE reward " TRAIN "--eval-data held-out.jsonl --ood-quantile 0.95 --output-dir rm");
    return 0;
}

/* Share of answers that are flagged; *distance, if not NULL: the mean. */
static double share(const char *reward, const char *data, double *distance)
{
    struct ended e = run("$HONE score " MODEL "--quiet --data %s %s", data, reward);
    if (e.code)
        fail_msg("%s", e.err);
    json_t *rows = json_lines(e.out);
    double flagged = 0, sum = 0, n = 0;
    for (size_t i = 0; i < json_array_size(rows); i++)
        for (size_t k = 0; k < 2; k++) {
            const json_t *row = json_array_get(rows, i), *ood = json_array_get(json_object_get(row, "ood"), k);
            double d = json_number_value(json_array_get(json_object_get(row, "ood_distance"), k));
            assert_true(json_is_boolean(ood) && json_is_true(ood) == (d > 1) && d > 0);
            flagged += json_is_true(ood);
            sum += d;
            n++;
        }
    json_decref(rows);
    ended_release(&e);
    if (distance)
        *distance = sum / n;
    return flagged / n;
}

static void test_scores(void **state)
{
    (void)state;
    double alike_distance, garbage_distance, alike = share("--reward rm", "like.jsonl", &alike_distance);
    double garbage = share("--reward rm", "garbage.jsonl", &garbage_distance);
    print_message("flagged: %.3f of texts alike (mean distance %.2f), %.3f of garbage (%.2f)\n", alike, alike_distance, garbage,
                  garbage_distance);
    assert_true(alike > 0.02 && alike < 0.09 && garbage > 0.9);
    json_t *manifest = json_load_file("rm/manifest.json", 0, NULL), *ood = json_object_get(manifest, "ood");
    assert_string_equal(json_string_value(json_object_get(ood, "threshold_from")), "held_out");
    assert_int_equal(json_integer_value(json_object_get(ood, "texts")), 160);
    json_decref(manifest);
}

/* Without held-out rows the threshold is cross-fitted, and holds too; an ensemble asks all its members; without any, nothing is said. */
static void test_other_reward_models(void **state)
{
    (void)state;
    run_ok("$HONE reward " TRAIN "--ood-quantile 0.95 --ensemble 2 --layers-from 1 --output-dir two");
    json_t *manifest = json_load_file("two/members/2/manifest.json", 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json_object_get(manifest, "ood"), "threshold_from")), "cross_fit");
    json_decref(manifest);
    double both, first, second, alike = share("--reward two", "like.jsonl", &both);
    share("--reward two/members/1", "like.jsonl", &first);
    share("--reward two/members/2", "like.jsonl", &second);
    expect_near(both, (first + second) / 2, 1e-6, "mean distance", 0);
    assert_true(alike < 0.15 && share("--reward two", "garbage.jsonl", NULL) > 0.8);
    run_ok("$HONE average --reward two --tokenizer tokenizer --center-data pairs.jsonl --ood-quantile 0.95 --quiet "
           "--output-dir average");
    alike = share("--reward average", "like.jsonl", NULL);
    double garbage = share("--reward average", "garbage.jsonl", NULL);
    print_message("an average flags %.3f of texts alike, %.3f of garbage\n", alike, garbage);
    assert_true(alike < 0.15 && garbage > alike + 0.4);
    run_ok("$HONE reward " TRAIN "--ood-quantile 0 --output-dir none");
    assert_false(is_there("none/adapter/ood.safetensors"));
    struct ended e = run("$HONE score " MODEL "--quiet --data like.jsonl --reward none --reward rm");
    assert_true(e.code == 0 && strstr(e.out, "\"ood\": [null, null]") && !strstr(e.out, "true"));
    ended_release(&e);
    run_ok("head -n 5 pairs.jsonl >few.jsonl");
    e = run("$HONE reward " MODEL "--lora-r 4 --train-data few.jsonl --max-steps 1 --output-dir few");
    assert_true(e.code == 0 && strstr(e.err, "texts out of distribution will not be told: 10 texts are too few"));
    ended_release(&e);
}

static void test_rollouts(void **state)
{
    (void)state;
    static const char *const methods[] = {"ppo --reward rm", "grpo --reward rm --reward rule:length:target=4",
                                          "rloo --reward rm"};
    for (size_t i = 0; i < 3; i++) {
        run_ok("$HONE %s " MODEL
               "--lora-r 4 --train-data like.jsonl --per-device-train-batch-size 4 --iterations 2 --num-generations 2 "
               "--response-length 8 --quiet --overwrite --output-dir policy",
               methods[i]);
        json_t *lines = metrics_of("policy");
        double of = metric(lines, 1, "objective/ood_share");
        assert_true(of >= 0 && of <= 1);
        json_decref(lines);
    }
    /* an untrained tiny model writes garbage: nearly all of it is flagged, and that is an alarm */
    struct ended e =
        run("$HONE grpo " MODEL "--lora-r 4 --reward rm --train-data like.jsonl --per-device-train-batch-size 4 --iterations 9 "
            "--num-generations 4 --response-length 8 --monitor stop --monitor-warmup 1 --monitor-patience 2 --ood-share 0.4 "
            "--overwrite --output-dir policy");
    if (e.code || !strstr(e.err, "the reward model was not trained on answers like these"))
        fail_msg("no alarm in: %s", e.err);
    ended_release(&e);
    json_t *lines = metrics_of("policy");
    assert_true(metric(lines, json_array_size(lines) - 1, "objective/ood_share") > 0.4 && json_array_size(lines) == 3);
    json_decref(lines);
}

static void test_laws(void **state)
{
    (void)state;
    static const char *const flags[] = {"--threads 2 --micro-batch-tokens 20",
                                        "--gradient-accumulation-steps 4 --per-device-train-batch-size 2"};
    for (size_t i = 0; i < 2; i++) {
        run_ok("$HONE reward " TRAIN "--eval-data held-out.jsonl --ood-quantile 0.95 --overwrite --output-dir other %s",
               flags[i]);
        expect_same_file("rm/adapter", "other/adapter", "ood.safetensors");
    }
    for (size_t line = 1; line < 6; line += 2) {
        drop("other");
        run_and_kill_at_line("$HONE reward " TRAIN "--eval-data held-out.jsonl --ood-quantile 0.95 --output-dir other",
                             "other/metrics.jsonl", line);
        run_ok("$HONE reward " TRAIN "--eval-data held-out.jsonl --ood-quantile 0.95 --output-dir other --resume");
        expect_same_file("rm/adapter", "other/adapter", "ood.safetensors");
        expect_same_file("rm/adapter", "other/adapter", "hone.json");
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char score[] = "$HONE score " MODEL "--reward broken --data like.jsonl --quiet";
    run_ok("cp -r rm broken; head -c 500 rm/adapter/ood.safetensors >broken/adapter/ood.safetensors");
    expect_refused(score, "ood.safetensors");
    run_ok("cp broken/adapter/adapter_model.safetensors broken/adapter/ood.safetensors");
    expect_refused(score, "ood.safetensors");
    expect_refused("$HONE reward " TRAIN "--ood-quantile 1 --output-dir nowhere", "ood-quantile");
    expect_refused("$HONE grpo " MODEL "--reward rm --train-data like.jsonl --ood-share 2 --output-dir nowhere", "ood-share");
    assert_false(is_there("nowhere"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cholesky),
        cmocka_unit_test(test_golden_distance),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_other_reward_models),
        cmocka_unit_test(test_rollouts),
        cmocka_unit_test(test_laws),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
