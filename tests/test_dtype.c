/* The stored types: blocks against the PyPI package gguf, and a whole small model in each type against the same model in
 * floats, bit for bit: log-probs, sampling, gradients, weights packed and not. */
#include <stdlib.h>
#include <string.h>

#include "model/adapter.h"
#include "rollout/generate.h"
#include "support/gguf_file.h"
#include "support/support.h"
#include "util/file.h"
#include "util/mem.h"

static enum dtype dtype_named(const char *name)
{
    for (enum dtype type = 0; type < DTYPE_COUNT; type++)
        if (!strcmp(dtype_table[type].name, name))
            return type;
    fail_msg("no type '%s'", name);
    return DTYPE_COUNT;
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static uint8_t *from_hex(const char *text, size_t *n)
{
    *n = strlen(text) / 2;
    uint8_t *out = xmalloc(*n);
    for (size_t i = 0; i < *n; i++)
        out[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    return out;
}

/* The bytes that tests/golden/make/dtype.py makes, with halves below 2. */
static uint8_t *generated(enum dtype type, size_t blocks, uint32_t seed)
{
    size_t bytes = dtype_table[type].bytes, at[2], halves = block_halves(type, at);
    uint8_t *out = xmalloc(blocks * bytes);
    for (size_t i = 0; i < blocks * bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        out[i] = (uint8_t)(seed >> 24);
    }
    for (size_t b = 0; b < blocks; b++)
        for (size_t h = 0; h < halves; h++)
            out[b * bytes + at[h] + 1] &= 0xbf;
    return out;
}

static void test_blocks(void **state)
{
    (void)state;
    json_t *golden = golden_json("tests/golden/dtype.json"), *o;
    const char *name;
    size_t seen = 0;
    json_object_foreach(json_object_get(golden, "types"), name, o) {
        enum dtype type = dtype_named(name);
        size_t block = dtype_table[type].block, n;
        float out[256];
        for (size_t i = 0; i < json_array_size(json_object_get(o, "blocks")); i++) {
            uint8_t *stored = from_hex(json_string_value(json_array_get(json_object_get(o, "blocks"), i)), &n);
            assert_int_equal(n, dtype_table[type].bytes);
            uint8_t *want = from_hex(json_string_value(json_array_get(json_object_get(o, "floats"), i)), &n);
            assert_int_equal(n, 4 * block);
            dtype_unpack(type, out, stored, 0, block);
            for (size_t j = 0; j < block; j++) {
                float w;
                memcpy(&w, want + 4 * j, 4);
                if (memcmp(&out[j], &w, 4))
                    fail_msg("%s, block %zu, weight %zu: %a, not %a", name, i, j, (double)out[j], (double)w);
            }
            free(stored);
            free(want);
        }
        size_t many = (size_t)json_integer_value(json_object_get(o, "many"));
        uint8_t *stored = generated(type, many, 7);
        float *floats = xmalloc(many * block * sizeof *floats);
        char hash[65];
        dtype_unpack(type, floats, stored, 0, many * block);
        sha256_hex(hash, floats, many * block * sizeof *floats);
        if (strcmp(hash, json_string_value(json_object_get(o, "sha256"))))
            fail_msg("%s: %zu blocks do not have gguf's floats", name, many);
        free(stored);
        free(floats);
        seen++;
    }
    assert_int_equal(seen, DTYPE_COUNT - 3); /* all that have blocks */
    json_decref(golden);
}

/* ---- a whole model ---- */

/* All that a model makes of two sequences. */
struct made {
    float logp[64], *logits, *gradients, sampled[48];
    size_t n_logp, n_logits, n_gradients, n_sampled;
    int32_t ids[48];
};

static void must(int rc, const struct err *err)
{
    if (rc)
        fail_msg("%s", err->text);
}

static void run_model(struct made *made, const struct model *m)
{
    static const int32_t ids[] = {5, 17, 4, 201, 33, 299, 0, 71, 8, 120, 64, 3, 3, 250, 19, 77, 142, 9, 58, 231, 6, 90, 11, 45};
    enum { N = sizeof ids / sizeof *ids };
    struct err err;
    struct adapter adapter;
    must(adapter_init(&adapter, m, &(struct adapter_options){.rank = 4, .alpha = 8, .seed = 3}, &err), &err);
    for (size_t i = 0; i < adapter.params.n; i++) /* B is no longer 0, so that every weight matters to every gradient */
        adapter.params.data[i] += 0.01f * (float)((int)(i * 7 % 11) - 5);
    struct net net = {.model = m, .adapter = &adapter};
    struct workspace *w = workspace_new(&m->config, KEEP_ALL, &err);
    struct batch b = {0};
    struct target targets[64];
    struct gradients grads;
    struct logprob_row info;
    float d[64], one = 1;
    made->n_logp = 0;
    add_sequence(&b, targets, &made->n_logp, ids, N, 1);
    add_sequence(&b, targets, &made->n_logp, ids + 3, 9, 4);
    must(gradients_init(&grads, &net, false, true, false, &err), &err);
    gradients_clear(&grads, &net);
    must(net_forward(w, &net, &b, NULL, 0, &err), &err);
    must(net_logprobs(made->logp, NULL, w, &net, targets, made->n_logp, 1, true, &err), &err);
    for (size_t i = 0; i < made->n_logp; i++)
        d[i] = 0.1f - 0.03f * (float)(i % 5);
    net_backward(&grads, w, &net, &b, d, NULL, NULL, 0);
    gradients_finish(&grads, &net);
    made->n_gradients = adapter.params.n;
    made->gradients = xcalloc(made->n_gradients, sizeof(float));
    memcpy(made->gradients, grads.adapter, made->n_gradients * sizeof(float));
    made->n_logits = b.n_rows * m->config.vocab;
    made->logits = xcalloc(made->n_logits, sizeof(float));
    for (size_t r = 0; r < b.n_rows; r++)
        logits_forward(made->logits + r * m->config.vocab, &info, net_hidden(w, r), 1, &m->output, 0, &one);
    struct request r = {.prompt = ids, .n_prompt = 7, .n_samples = 3, .max_new_tokens = 16, .adapter = &adapter,
                        .sampling = {.temperature = 1, .top_p = 1, .seed = 4}};
    must(generate_all(m, &r, 1, 3, NULL, NULL, &err), &err);
    made->n_sampled = 0;
    for (size_t s = 0; s < 3; s++)
        for (size_t i = 0; i < r.samples[s].n; i++) {
            made->ids[made->n_sampled] = r.samples[s].ids[i];
            made->sampled[made->n_sampled++] = r.samples[s].logps[i];
        }
    request_release(&r);
    gradients_release(&grads);
    batch_release(&b);
    workspace_free(w);
    adapter_release(&adapter);
}

static void expect_bits(const char *type, const char *what, const float *got, size_t n_got, const float *want, size_t n_want)
{
    assert_int_equal(n_got, n_want);
    assert_true(n_got > 0);
    for (size_t i = 0; i < n_got; i++)
        if (memcmp(&got[i], &want[i], 4))
            fail_msg("%s, %s %zu: %a, and from floats %a", type, what, i, (double)got[i], (double)want[i]);
}

static void expect_made(const char *type, const struct made *got, const struct made *want)
{
    expect_bits(type, "log-prob", got->logp, got->n_logp, want->logp, want->n_logp);
    expect_bits(type, "logit", got->logits, got->n_logits, want->logits, want->n_logits);
    expect_bits(type, "gradient", got->gradients, got->n_gradients, want->gradients, want->n_gradients);
    expect_bits(type, "sampled log-prob", got->sampled, got->n_sampled, want->sampled, want->n_sampled);
    assert_memory_equal(got->ids, want->ids, got->n_sampled * sizeof *got->ids);
}

static void made_release(struct made *m)
{
    free(m->logits);
    free(m->gradients);
}

/* Different in every number that is compared: what is compared is not all zeros. */
static void expect_lively(const struct made *m)
{
    size_t zeros = 0;
    for (size_t i = 0; i < m->n_gradients; i++)
        zeros += m->gradients[i] == 0;
    assert_int_equal(zeros, 0);
    for (size_t i = 1; i < m->n_logp; i++)
        assert_true(m->logp[i] < 0 && m->logp[i] != m->logp[i - 1]);
}

static void test_models(void **state)
{
    (void)state;
    struct err err;
    const char *tmp = getenv("TMPDIR");
    char *folder = xasprintf("%s/hone-dtype-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(folder));
    char *stored = path_join(folder, "stored"), *floats = path_join(folder, "floats");
    char *stored_path = xasprintf("%s-00002-of-00003.gguf", stored), *floats_path = xasprintf("%s.gguf", floats);
    for (enum dtype type = DTYPE_F32 + 1; type < DTYPE_COUNT; type++) {
        const char *name = dtype_table[type].name;
        write_small_model(stored, &(struct small_model){type, false, 3});
        write_small_model(floats, &(struct small_model){type, true, 1});
        struct model m, twin;
        struct made want, got, packed;
        must(model_open(&m, stored_path, NULL, &err), &err);
        must(model_open(&twin, floats_path, NULL, &err), &err);
        assert_int_equal(m.layers[1].linear[0].type, type);
        assert_int_equal(twin.layers[1].linear[0].type, DTYPE_F32);
        run_model(&want, &twin);
        run_model(&got, &m);
        expect_lively(&want);
        expect_made(name, &got, &want);
        must(model_pack(&m, &err), &err);
        run_model(&packed, &m);
        expect_made(name, &packed, &want);
        must(model_make_trainable(&m, &err), &err); /* all of it, as floats */
        must(model_make_trainable(&twin, &err), &err);
        expect_bits(name, "weight", m.params.data, m.params.n, twin.params.data, twin.params.n);
        made_release(&want);
        made_release(&got);
        made_release(&packed);
        model_release(&m);
        model_release(&twin);
    }
    must(dir_remove(folder, &err), &err);
    free(stored);
    free(floats);
    free(stored_path);
    free(floats_path);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks), cmocka_unit_test(test_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
