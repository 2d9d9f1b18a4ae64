/* Bad input to the training commands: one line that names file, place and remedy, before anything is written; and a disk
 * that is full, after which --resume goes on to the same bytes. */
#define _GNU_SOURCE
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "checkpoint/safetensors_out.h"
#include "model/safetensors.h"
#include "support/program.h"
#include "util/file.h"
#include "util/mem.h"

#define TINY "golden/models/llama"
#define V_PROJ "model.layers.1.self_attn.v_proj.weight"
#define COMMON "--max-steps 2 --per-device-train-batch-size 4 --lora-r 2 --quiet --output-dir out "

/* ---- damaged models ---- */

static void copy_file(const char *from, const char *to)
{
    size_t n;
    char *bytes = text_read(from, &n);
    bytes_write(to, bytes, n);
    free(bytes);
}

static void copy_model(void)
{
    struct err err;
    if (dir_remove("bad", &err) || dir_make("bad", &err))
        fail_msg("%s", err.text);
    copy_file(TINY "/config.json", "bad/config.json");
    copy_file(TINY "/model.safetensors", "bad/model.safetensors");
}

static void cut_file(const char *path, double share)
{
    size_t n;
    char *bytes = text_read(path, &n);
    bytes_write(path, bytes, (size_t)((double)n * share));
    free(bytes);
}

static void half_of_the_weights(void)
{
    copy_model();
    cut_file("bad/model.safetensors", 0.5);
}

static void header_cut(void)
{
    copy_model();
    cut_file("bad/model.safetensors", 0.001);
}

static void no_weights(void)
{
    copy_model();
    unlink("bad/model.safetensors");
}

static void set_config(const char *key, json_t *value)
{
    copy_model();
    json_t *config = golden_json("bad/config.json");
    json_object_set_new(config, key, value);
    json_dump_file(config, "bad/config.json", 0);
    json_decref(config);
}

static void unknown_family(void)
{
    set_config("model_type", json_string("rwkv7"));
}

static void fewer_heads(void)
{
    set_config("num_key_value_heads", json_integer(4));
}

static void half_of_the_config(void)
{
    copy_model();
    cut_file("bad/config.json", 0.5);
}

/* The tensors of a file through `change` (which returns false to leave one out) into bad/NAME. */
static void rewrite(const char *from, const char *to, bool (*change)(struct safetensors_tensor *t, float *data, size_t n))
{
    struct tensor_file f;
    struct err err;
    if (safetensors_open(&f, from, &err))
        fail_msg("%s", err.text);
    struct safetensors_tensor *list = xcalloc(f.n, sizeof *list);
    float **data = xcalloc(f.n, sizeof *data);
    size_t n = 0;
    for (size_t i = 0; i < f.n; i++) {
        const struct tensor *t = &f.tensors[i];
        data[i] = xcalloc(tensor_elements(t), sizeof *data[i]);
        tensor_unpack(data[i], t);
        list[n] = (struct safetensors_tensor){.name = t->name, .type = DTYPE_F32, .n_dims = t->n_dims, .data = data[i]};
        memcpy(list[n].shape, t->shape, sizeof list[n].shape);
        n += change(&list[n], data[i], tensor_elements(t));
    }
    struct safetensors_note note = {"format", "pt"};
    if (safetensors_write(to, list, n, &note, 1, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < f.n; i++)
        free(data[i]);
    free(data);
    free(list);
    tensor_file_release(&f);
}

static bool without_v(struct safetensors_tensor *t, float *data, size_t n)
{
    (void)data, (void)n;
    return strcmp(t->name, V_PROJ) != 0;
}

static bool turned_v(struct safetensors_tensor *t, float *data, size_t n)
{
    (void)data, (void)n;
    if (!strcmp(t->name, V_PROJ)) {
        size_t rows = t->shape[0];
        t->shape[0] = t->shape[1];
        t->shape[1] = rows;
    }
    return true;
}

static bool nan_in_v(struct safetensors_tensor *t, float *data, size_t n)
{
    if (!strcmp(t->name, V_PROJ))
        data[n / 2] = NAN;
    return true;
}

static bool infinity_in_norm(struct safetensors_tensor *t, float *data, size_t n)
{
    (void)n;
    if (!strcmp(t->name, "model.norm.weight"))
        data[3] = INFINITY;
    return true;
}

static void missing_tensor(void)
{
    copy_model();
    rewrite(TINY "/model.safetensors", "bad/model.safetensors", without_v);
}

static void wrong_shape(void)
{
    copy_model();
    rewrite(TINY "/model.safetensors", "bad/model.safetensors", turned_v);
}

static void nan_weight(void)
{
    copy_model();
    rewrite(TINY "/model.safetensors", "bad/model.safetensors", nan_in_v);
}

static void infinite_norm(void)
{
    copy_model();
    rewrite(TINY "/model.safetensors", "bad/model.safetensors", infinity_in_norm);
}

static void gguf_cut_in_its_header(void)
{
    static const unsigned char bytes[] = {'G', 'G', 'U', 'F', 3, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 20, 0};
    bytes_write("bad.gguf", bytes, sizeof bytes);
}

static void no_gguf(void)
{
    text_write("bad.gguf", "<!doctype html>\n<title>404</title>\n");
}

static void larger_tokenizer(void)
{
    write_tokenizer("bad-tokenizer");
    json_t *t = json_load_file("bad-tokenizer/tokenizer.json", JSON_ALLOW_NUL, NULL);
    json_array_append_new(json_object_get(t, "added_tokens"),
                          json_pack("{s:i, s:s, s:b}", "id", 600, "content", "<|more|>", "special", 1));
    json_object_set_new(json_object_get(json_object_get(t, "model"), "vocab"), "<|more|>", json_integer(600));
    json_dump_file(t, "bad-tokenizer/tokenizer.json", 0);
    json_decref(t);
}

static void half_of_the_tokenizer(void)
{
    write_tokenizer("bad-tokenizer");
    cut_file("bad-tokenizer/tokenizer.json", 0.5);
}

/* ---- damaged adapters ---- */

static void copy_adapter(void)
{
    struct err err;
    if (dir_remove("bad", &err) || dir_make("bad", &err))
        fail_msg("%s", err.text);
    copy_file(TINY "/lora/adapter_config.json", "bad/adapter_config.json");
    copy_file(TINY "/lora/adapter_model.safetensors", "bad/adapter_model.safetensors");
}

/* As of a model whose feed-forward is half as wide. */
static bool narrower(struct safetensors_tensor *t, float *data, size_t n)
{
    (void)data, (void)n;
    if (strstr(t->name, "gate_proj.lora_B"))
        t->shape[0] /= 2;
    return true;
}

/* As of a model with two layers. */
static bool two_layers(struct safetensors_tensor *t, float *data, size_t n)
{
    (void)data, (void)n;
    return !strstr(t->name, "layers.2.");
}

static void adapter_of_a_narrower_model(void)
{
    copy_adapter();
    rewrite(TINY "/lora/adapter_model.safetensors", "bad/adapter_model.safetensors", narrower);
}

static void adapter_of_a_shallower_model(void)
{
    copy_adapter();
    rewrite(TINY "/lora/adapter_model.safetensors", "bad/adapter_model.safetensors", two_layers);
}

static void half_of_the_adapter(void)
{
    copy_adapter();
    cut_file("bad/adapter_model.safetensors", 0.5);
}

/* ---- cases ---- */

#define SFT "sft --model " TINY " --train-data bad.jsonl " COMMON
#define SFT_BAD_MODEL "sft --model bad --train-data good.jsonl " COMMON
#define SFT_BAD_GGUF "sft --model bad.gguf --train-data good.jsonl " COMMON
#define SFT_TEXT "sft --model " TINY " --tokenizer tokenizer --train-data bad.jsonl " COMMON
#define SFT_ADAPTER "sft --model " TINY " --adapter bad --train-data good.jsonl " COMMON
#define DPO "dpo --model " TINY " --tokenizer tokenizer --train-data bad.jsonl " COMMON
#define REWARD "reward --model " TINY " --tokenizer tokenizer --train-data bad.jsonl " COMMON
#define CPO "cpo --model " TINY " --tokenizer tokenizer --train-data bad.jsonl " COMMON
#define ORPO "orpo --model " TINY " --tokenizer tokenizer --train-data bad.jsonl " COMMON
#define KTO "kto --model " TINY " --tokenizer tokenizer --train-data bad.jsonl " COMMON
#define THUMB "{\"prompt\": \"the lamp\", \"completion\": \"was lit\", \"label\": true}\n"
#define IDS "{\"input_ids\": [5, 6, 7, 8], \"prompt_length\": 2}\n"
#define PAIR "{\"prompt\": \"the lamp\", \"chosen\": \"was lit\", \"rejected\": \"rain\"}\n"
#define JUDGED "{\"prompt\": \"the lamp\", \"a\": \"was lit\", \"b\": \"rain\", \"label\": \"a\"}\n"

static const struct bad_case {
    const char *name;
    void (*prepare)(void); /* or NULL */
    const char *data;      /* bad.jsonl, or NULL */
    const char *line;
    int code;
    const char *says[4]; /* what the line on stderr must hold */
} cases[] = {
    {"weights cut in half", half_of_the_weights, NULL, SFT_BAD_MODEL, 1, {"bad/model.safetensors"}},
    {"weights cut in their header", header_cut, NULL, SFT_BAD_MODEL, 1, {"bad/model.safetensors"}},
    {"no weights", no_weights, NULL, SFT_BAD_MODEL, 1, {"bad"}},
    {"a missing tensor", missing_tensor, NULL, SFT_BAD_MODEL, 1, {"bad", V_PROJ}},
    {"a tensor of the wrong shape", wrong_shape, NULL, SFT_BAD_MODEL, 1, {"bad", V_PROJ, "(64, 32)", "(32, 64)"}},
    {"config of another shape", fewer_heads, NULL, SFT_BAD_MODEL, 1, {"bad", "k_proj", "(32, 64)", "(64, 64)"}},
    {"an unknown family", unknown_family, NULL, SFT_BAD_MODEL, 1, {"bad/config.json", "rwkv7", "llama"}},
    {"config cut in half", half_of_the_config, NULL, SFT_BAD_MODEL, 1, {"bad/config.json", "line"}},
    {"a GGUF cut in its header", gguf_cut_in_its_header, NULL, SFT_BAD_GGUF, 1, {"bad.gguf"}},
    {"a GGUF that is none", no_gguf, NULL, SFT_BAD_GGUF, 1, {"bad.gguf"}},
    {"a model that is not there", NULL, NULL, "sft --model nowhere --train-data good.jsonl " COMMON, 1, {"'nowhere'"}},
    {"a tokenizer of another model", larger_tokenizer, NULL,
     "sft --model " TINY " --tokenizer bad-tokenizer --train-data good.jsonl " COMMON, 1, {"tokenizer", "601", "512"}},
    {"a tokenizer cut in half", half_of_the_tokenizer, NULL,
     "sft --model " TINY " --tokenizer bad-tokenizer --train-data good.jsonl " COMMON, 1, {"bad-tokenizer/tokenizer.json", "line"}},
    {"an adapter of a narrower model", adapter_of_a_narrower_model, NULL, SFT_ADAPTER, 1,
     {"bad/adapter_model.safetensors", "gate_proj.lora_B", "(64, 4)", "another model"}},
    {"an adapter of a shallower model", adapter_of_a_shallower_model, NULL, SFT_ADAPTER, 1,
     {"bad/adapter_model.safetensors", "layers.2."}},
    {"an adapter cut in half", half_of_the_adapter, NULL, SFT_ADAPTER, 1, {"bad/adapter_model.safetensors"}},
    {"an adapter that is not there", NULL, NULL,
     "sft --model " TINY " --adapter nowhere --train-data good.jsonl " COMMON, 1, {"'nowhere'"}},
    {"a model for an adapter", NULL, NULL,
     "sft --model " TINY " --adapter " TINY " --train-data good.jsonl " COMMON, 1, {"'" TINY "'", "no adapter"}},
    {"an adapter and --full", NULL, NULL,
     "sft --model " TINY " --adapter " TINY "/lora --full --train-data good.jsonl " COMMON, 1, {"adapter", "full"}},

    {"data that is not there", NULL, NULL, "sft --model " TINY " --train-data nowhere.jsonl " COMMON, 1, {"'nowhere.jsonl'"}},
    {"empty data", NULL, "", SFT, 1, {"'bad.jsonl'"}},
    {"a line cut in half", NULL, IDS IDS "{\"input_ids\": [5, 6, 7", SFT, 1, {"'bad.jsonl' line 3"}},
    {"a cut line in the middle", NULL, IDS "{\"input_ids\": [5, 6\n" IDS, SFT, 1, {"'bad.jsonl' line 2"}},
    {"an id outside the vocabulary", NULL, IDS IDS "{\"input_ids\": [5, 512], \"prompt_length\": 1}\n", SFT, 1,
     {"'bad.jsonl' line 3", "512", "vocabulary"}},
    {"a negative id", NULL, IDS "{\"input_ids\": [5, -1], \"prompt_length\": 1}\n", SFT, 1,
     {"'bad.jsonl' line 2", "input_ids", "entry 2"}},
    {"a prompt_length past the end", NULL, IDS "{\"input_ids\": [5, 6], \"prompt_length\": 3}\n", SFT, 1,
     {"'bad.jsonl' line 2", "prompt_length"}},
    {"ids without a completion", NULL, IDS "{\"input_ids\": [5, 6], \"prompt_length\": 2}\n", SFT, 1,
     {"'bad.jsonl' line 2", "nothing to learn from"}},
    {"text without a tokenizer", NULL, "{\"prompt\": \"a\", \"completion\": \"b\"}\n", SFT, 1,
     {"'bad.jsonl' line 1", "tokenizer", "--tokenizer"}},
    {"an empty completion", NULL, "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completion\": \"\"}\n", SFT_TEXT,
     1, {"'bad.jsonl' line 2", "completion"}},
    {"a missing field", NULL, "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completions\": \"b\"}\n", SFT_TEXT, 1,
     {"'bad.jsonl' line 2", "\"completion\""}},
    {"an unknown role", NULL, "{\"messages\": [{\"role\": \"human\", \"content\": \"a\"}]}\n", SFT_TEXT, 1,
     {"'bad.jsonl' line 1", "human"}},
    {"a row longer than max_length", NULL,
     IDS "{\"input_ids\": [5, 6, 7, 8, 9, 10, 11], \"prompt_length\": 6}\n", SFT " --max-length 6", 1,
     {"'bad.jsonl' line 2", "max_length 6", "--max-length"}},
    {"pairs for sft", NULL, PAIR, SFT_TEXT, 1, {"'bad.jsonl'", "pairs", "hone sft"}},
    {"text for dpo", NULL, "{\"text\": \"a\"}\n", DPO, 1, {"'bad.jsonl'", "hone dpo"}},
    {"ids for reward", NULL, IDS, REWARD, 1, {"'bad.jsonl'", "hone reward"}},
    {"an empty rejected answer", NULL, PAIR "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \" \"}\n", DPO, 1,
     {"'bad.jsonl' line 2", "rejected"}},
    {"ties alone for dpo", NULL, "{\"prompt\": \"p\", \"a\": \"b\", \"b\": \"c\", \"label\": \"tie\"}\n", DPO, 1, {"'bad.jsonl'", "pair"}},
    {"a label that is none", NULL, JUDGED "{\"prompt\": \"p\", \"a\": \"b\", \"b\": \"c\", \"label\": \"c\"}\n", REWARD, 1,
     {"'bad.jsonl' line 2", "label"}},
    {"NaN for p_a", NULL, JUDGED "{\"prompt\": \"p\", \"a\": \"b\", \"b\": \"c\", \"p_a\": NaN}\n", REWARD, 1, {"'bad.jsonl' line 2"}},
    {"p_a above 1", NULL, JUDGED "{\"prompt\": \"p\", \"a\": \"b\", \"b\": \"c\", \"p_a\": 1.5}\n", REWARD, 1,
     {"'bad.jsonl' line 2", "p_a", "1.5"}},
    {"NaN for a weight", NULL, JUDGED "{\"prompt\": \"p\", \"a\": \"b\", \"b\": \"c\", \"label\": \"a\", \"weight\": NaN}\n", REWARD, 1,
     {"'bad.jsonl' line 2"}},
    {"an infinite weight", NULL, JUDGED "{\"prompt\": \"p\", \"a\": \"b\", \"b\": \"c\", \"label\": \"a\", \"weight\": 1e999}\n", REWARD,
     1, {"'bad.jsonl' line 2"}},
    {"a negative weight", NULL, JUDGED "{\"prompt\": \"p\", \"a\": \"b\", \"b\": \"c\", \"label\": \"a\", \"weight\": -1}\n", REWARD, 1,
     {"'bad.jsonl' line 2", "weight", "-1"}},
    {"NaN for a score", NULL, JUDGED "{\"prompt\": \"p\", \"a\": \"b\", \"b\": \"c\", \"label\": \"a\", \"score\": NaN}\n", REWARD, 1,
     {"'bad.jsonl' line 2"}},
    {"NaN for a margin", NULL, PAIR "{\"prompt\": \"p\", \"chosen\": \"b\", \"rejected\": \"c\", \"margin\": -NaN}\n", REWARD, 1,
     {"'bad.jsonl' line 2"}},
    {"a bad row in the data for evaluation", NULL, IDS "{\"input_ids\": [5, 999], \"prompt_length\": 1}\n",
     "sft --model " TINY " --train-data good.jsonl --eval-data bad.jsonl " COMMON, 1, {"'bad.jsonl' line 2", "999"}},
    {"a bad row in the data for centring", NULL, IDS "{\"input_ids\": [5, 999], \"prompt_length\": 1}\n",
     "reward --model " TINY " --tokenizer tokenizer --train-data pairs.jsonl --center-data bad.jsonl " COMMON, 1,
     {"'bad.jsonl' line 2", "999"}},

    {"an unknown flag", NULL, IDS, SFT " --lerning-rate 1", 2, {"--lerning-rate", "--learning-rate"}},
    {"a rate out of range", NULL, IDS, SFT " --learning-rate -1", 2, {"--learning-rate", "-1"}},
    {"a number that is none", NULL, IDS, SFT " --max-steps many", 2, {"--max-steps", "many"}},
    {"a flag without its value", NULL, IDS, SFT " --seed", 2, {"--seed"}},
    {"a choice that is none", NULL, IDS, SFT " --lr-scheduler-type cosin", 2, {"cosin", "cosine"}},
    {"a missing flag", NULL, IDS, "sft --model " TINY, 2, {"--train-data"}},
    {"a beta of 0", NULL, PAIR, DPO " --beta 0", 2, {"--beta"}},
    {"an unknown loss", NULL, PAIR, DPO " --loss-type sigmoyd", 2, {"sigmoyd", "sigmoid"}},
    {"an unknown loss among others", NULL, PAIR, DPO " --loss-type sigmoid,apo", 2, {"'apo'", "'apo_zero'"}},
    {"a loss that is said twice", NULL, PAIR, DPO " --loss-type hinge,hinge", 2, {"'hinge'", "twice"}},
    {"a loss without a reference", NULL, PAIR, DPO " --loss-type simpo", 2, {"'simpo'", "'hone cpo'"}},
    {"ORPO as a loss of DPO", NULL, PAIR, DPO " --loss-type orpo", 2, {"'orpo'", "'hone orpo'"}},
    {"weights that do not fit the losses", NULL, PAIR, DPO " --loss-type sigmoid,sft --loss-weights 1", 2,
     {"--loss-weights", "1 numbers", "2 of --loss-type"}},
    {"a weight that is no number", NULL, PAIR, DPO " --loss-weights heavy", 2, {"--loss-weights", "heavy"}},
    {"a weight that is not finite", NULL, PAIR, DPO " --loss-weights nan", 2, {"loss_weights"}},
    {"a negative weight of a loss", NULL, PAIR, DPO " --loss-weights=-1", 2, {"loss_weights", "-1"}},
    {"smoothing of a loss that has none", NULL, PAIR, DPO " --loss-type apo_zero --label-smoothing 0.1", 2,
     {"'label_smoothing'", "'apo_zero'", "'sigmoid'"}},
    {"exo_pair without smoothing", NULL, PAIR, DPO " --loss-type exo_pair", 2, {"'label_smoothing'", "'exo_pair'", "0.001"}},
    {"a divergence for a loss that has one", NULL, PAIR, DPO " --loss-type aot --f-divergence-type forward_kl", 2,
     {"'forward_kl'", "'aot'"}},
    {"an unknown divergence", NULL, PAIR, DPO " --f-divergence-type forwards_kl", 2, {"forwards_kl", "forward_kl"}},
    {"ld_alpha above 1", NULL, PAIR, DPO " --ld-alpha 1.5", 2, {"--ld-alpha", "1.5"}},
    {"a mixture above 1", NULL, PAIR, DPO " --ref-model-mixup-alpha 1.5", 2, {"--ref-model-mixup-alpha", "1.5"}},
    {"smoothing of CPO's hinge", NULL, PAIR, CPO " --loss-type hinge --label-smoothing 0.1", 2, {"'label_smoothing'", "'hinge'"}},
    {"an unknown loss of CPO", NULL, PAIR, CPO " --loss-type simp", 2, {"simp", "simpo"}},
    {"text for cpo", NULL, "{\"text\": \"a\"}\n", CPO, 1, {"'bad.jsonl'", "hone cpo"}},
    {"thumbs for orpo", NULL, THUMB, ORPO, 1, {"'bad.jsonl'", "hone orpo", "pairs"}},
    {"demonstrations for kto", NULL, "{\"prompt\": \"a\", \"completion\": \"b\"}\n", KTO, 1, {"'bad.jsonl'", "hone kto"}},
    {"a thumb that is none", NULL, THUMB "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": \"up\"}\n", KTO, 1,
     {"'bad.jsonl' line 2", "label"}},
    {"ties alone for kto", NULL, "{\"prompt\": \"p\", \"a\": \"b\", \"b\": \"c\", \"label\": \"tie\"}\n", KTO, 1, {"'bad.jsonl'", "ties"}},
    {"steps of one row for kto", NULL, THUMB, KTO " --per-device-train-batch-size 1", 2,
     {"--per-device-train-batch-size", "apo_zero_unpaired"}},
    {"a negative weight of bad answers", NULL, THUMB, KTO " --undesirable-weight -1", 2, {"--undesirable-weight", "-1"}},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static char *command_of(const char *line)
{
    return xstrndup(line, strcspn(line, " "));
}

/* Exactly one line, "hone: COMMAND: ..", that holds all of `says`. */
static void expect_line(const struct ended *e, const char *line, int code, const char *const *says)
{
    char *command = command_of(line), *start = xasprintf("hone: %s: ", command);
    size_t n = strlen(e->err);
    if (e->code != code)
        fail_msg("'%s' ended with %d, not %d: %s", line, e->code, code, e->err);
    if (n == 0 || strncmp(e->err, start, strlen(start)) || strchr(e->err, '\n') != e->err + n - 1)
        fail_msg("'%s': not one line beginning '%s': %s", line, start, e->err);
    for (size_t i = 0; i < 4 && says[i]; i++)
        if (!strstr(e->err, says[i]))
            fail_msg("'%s': no '%s' in: %s", line, says[i], e->err);
    if (*e->out)
        fail_msg("'%s' writes to standard output: %s", line, e->out);
    free(start);
    free(command);
}

static void prepare(const struct bad_case *c)
{
    if (c->prepare)
        c->prepare();
    if (c->data)
        text_write("bad.jsonl", "%s", c->data);
}

static void test_case(void **state)
{
    const struct bad_case *c = *state;
    prepare(c);

    /* a fresh folder is not even made */
    struct ended e = run("$HONE %s --output-dir fresh", c->line);
    expect_line(&e, c->line, c->code, c->says);
    ended_release(&e);
    if (is_there("fresh"))
        fail_msg("'%s': a folder was made", c->line);

    /* a run that is there stays whole, although it may be overwritten */
    if (!is_there("out/manifest.json"))
        run_ok("$HONE sft --model " TINY " --train-data good.jsonl " COMMON);
    char *before = folder_listing("out");
    e = run("$HONE %s --overwrite", c->line);
    expect_line(&e, c->line, c->code, c->says);
    ended_release(&e);
    char *after = folder_listing("out");
    assert_string_equal(before, after);
    free(before);
    free(after);
}

/* --overwrite of the very run that the new one starts from. */
static void test_overwriting_its_input(void **state)
{
    (void)state;
    const char *says[4] = {"'out", "--overwrite", "--output-dir"};
    drop("out");
    run_ok("$HONE sft --full --model " TINY " --train-data good.jsonl " COMMON);
    char *before = folder_listing("out");
    static const char *const line = "sft --model out --train-data good.jsonl --overwrite " COMMON;
    struct ended e = run("$HONE %s", line);
    expect_line(&e, line, 1, says);
    char *after = folder_listing("out");
    assert_string_equal(before, after);
    ended_release(&e);
    free(before);
    free(after);
}

static void test_folder_that_cannot_be_made(void **state)
{
    (void)state;
    const char *says[4] = {"good.jsonl/out"};
    static const char *const line = "sft --model " TINY " --train-data good.jsonl " COMMON " --output-dir good.jsonl/out";
    struct ended e = run("$HONE %s", line);
    expect_line(&e, line, 1, says);
    ended_release(&e);
}

/* The real model, not downloaded whole: cut in its vocabulary, in the midst of its tensors, and by one byte. */
static void test_real_gguf_cut(void **state)
{
    (void)state;
    const char *model = real_model(), *says[4] = {"bad.gguf", "cut short", "download it again"};
    static const char *const line = "sft --model bad.gguf --train-data good.jsonl " COMMON;
    if (!model) {
        printf("skipped: no real model (HONE_MODEL)\n");
        skip();
    }
    size_t n;
    char *bytes = text_read(model, &n);
    size_t lengths[] = {100000, n / 2, n - 1};
    for (size_t i = 0; i < 3; i++) {
        bytes_write("bad.gguf", bytes, lengths[i]);
        struct ended e = run("$HONE %s", line);
        expect_line(&e, line, 1, says);
        ended_release(&e);
    }
    free(bytes);
}

/* ---- weights that are not finite ---- */

static void expect_stop(const char *line, const char *tensor)
{
    const char *says[4] = {"step 1", "not finite", tensor, NULL};
    drop("out");
    struct ended e = run("$HONE %s", line);
    expect_line(&e, line, 1, says);
    assert_false(is_there("out/adapter"));
    assert_false(is_there("out/model"));
    assert_false(is_there("out/manifest.json"));
    assert_false(is_there("out/checkpoints/latest"));
    ended_release(&e);
}

static void test_not_finite(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "sft --model bad --train-data good.jsonl " COMMON,
        "sft --full --model bad --train-data good.jsonl " COMMON,
        "dpo --model bad --tokenizer tokenizer --train-data pairs.jsonl " COMMON,
        "dpo --full --model bad --tokenizer tokenizer --train-data pairs.jsonl " COMMON,
        "reward --model bad --tokenizer tokenizer --train-data pairs.jsonl " COMMON,
        "reward --full --model bad --tokenizer tokenizer --train-data pairs.jsonl " COMMON,
    };
    nan_weight();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        expect_stop(lines[i], V_PROJ);
    infinite_norm();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        expect_stop(lines[i], "model.norm.weight");
}

/* ---- a disk that is full ---- */

#define RUN                                                                                        \
    "sft --model " TINY " --train-data good.jsonl --per-device-train-batch-size 4 --lora-r 4 --learning-rate 1e-2 --quiet "

static void expect_same_run(const char *straight, const char *other)
{
    char *a = path_join(straight, "adapter"), *b = path_join(other, "adapter");
    expect_same_file(straight, other, "metrics.jsonl");
    expect_same_file(straight, other, "manifest.json");
    expect_same_file(a, b, "adapter_model.safetensors");
    expect_same_file(a, b, "adapter_config.json");
    free(a);
    free(b);
}

/* What a run that found no room leaves: what is there is whole. */
static void expect_stopped(const struct ended *e, const char *dir, const char *why)
{
    const char *says[4] = {dir, why, "--resume"};
    expect_line(e, RUN, 1, says);
    char *all = folder_listing(dir), *manifest = path_join(dir, "manifest.json");
    if (strstr(all, ".tmp-") || is_there(manifest))
        fail_msg("after '%s' this is there:\n%s", e->err, all);
    free(all);
    free(manifest);
}

/* 1: such a file system could be mounted (for this process alone), 0: it could not. */
static int mount_small(const char *at, const char *size)
{
    static int own_mounts = -1;
    struct err err;
    if (own_mounts < 0)
        own_mounts = unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    return own_mounts && dir_make(at, &err) == 0 && mount("tmpfs", at, "tmpfs", 0, size) == 0;
}

static void test_full_disk(void **state)
{
    (void)state;
    /* From no room for the log to room for all but the report: the line falls at another place each time. */
    static const char *const sizes[] = {"4k", "64k", "168k", "200k", "320k", "336k", "480k", "496k", "600k", "740k"};
    static const char *const saves[] = {"--max-steps 40 --save-steps 0", "--max-steps 12 --save-steps 5"};
    size_t stopped = 0, n = sizeof sizes / sizeof *sizes;
    for (size_t k = 0; k < 2; k++) {
        drop("out");
        run_ok("$HONE " RUN "--output-dir out %s", saves[k]);
        for (size_t i = 0; i < n; i++) {
            char *small = xasprintf("size=%s", sizes[i]);
            if (!mount_small("small", small)) {
                printf("skipped: no small disk can be mounted here\n");
                skip();
            }
            struct ended e = run("$HONE " RUN "--output-dir small/out %s", saves[k]);
            if (e.code) {
                stopped++;
                expect_stopped(&e, "small/out", "No space left on device");
                assert_int_equal(mount("tmpfs", "small", "tmpfs", MS_REMOUNT, "size=8m"), 0);
                run_ok("$HONE " RUN "--output-dir small/out %s --resume", saves[k]);
            }
            expect_same_run("out", "small/out");
            assert_int_equal(umount("small"), 0);
            ended_release(&e);
            free(small);
        }
    }
    assert_true(stopped >= 12);
}

/* The same where files may not grow past a size, which anybody can set. */
static void test_file_size_limit(void **state)
{
    (void)state;
    static const struct {
        unsigned kib;
        const char *what;
    } limits[] = {{4, "metrics.jsonl"}, {64, "step 30"}, {180, "report.html"}};
#ifdef __clang__
    printf("skipped: LLVM's OpenMP breaks off under such a limit, having shared memory of its own\n");
    skip();
#endif
    drop("straight");
    run_ok("$HONE " RUN "--output-dir straight --max-steps 40 --save-steps 30");
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        drop("out");
        struct ended e = run("ulimit -f %u && exec $HONE " RUN "--output-dir out --max-steps 40 --save-steps 30", 2 * limits[i].kib);
        expect_stopped(&e, "out", limits[i].what);
        ended_release(&e);
        run_ok("$HONE " RUN "--output-dir out --max-steps 40 --save-steps 30 --resume");
        expect_same_run("straight", "out");
    }
}

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    text_write("good.jsonl", IDS IDS IDS IDS IDS);
    text_write("pairs.jsonl", PAIR PAIR PAIR);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(test_folder_that_cannot_be_made),
        cmocka_unit_test(test_overwriting_its_input),
        cmocka_unit_test(test_real_gguf_cut),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_file_size_limit),
    };
    enum { N_OTHERS = sizeof others / sizeof *others };
    struct CMUnitTest tests[N_CASES + N_OTHERS];
    memcpy(tests + N_CASES, others, sizeof others);
    for (size_t i = 0; i < N_CASES; i++)
        tests[i] = (struct CMUnitTest){.name = cases[i].name,
                                                  .test_func = test_case,
                                                  .initial_state = (void *)(uintptr_t)&cases[i]};
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
