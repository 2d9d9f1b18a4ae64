#include "cmd/training.h"
#include "train/sft.h"

struct sft_args {
    struct train_args train;
    bool assistant_only_loss;
};

static const struct option own[] = {
    {"assistant_only_loss", OPTION_BOOL, offsetof(struct sft_args, assistant_only_loss), "false",
     "of conversations without a prompt, learn the answers only (rows with a prompt always do)"},
};
static const struct option_group groups[] = {TRAIN_GROUPS(offsetof(struct sft_args, train)), {"SFT", own, ARRAY_LEN(own), 0}};
static const struct option_spec spec = {
    .command = "sft",
    .summary = "Supervised fine-tuning: learn from demonstrations.",
    .usage = "hone sft --model M --train-data F --output-dir D [--flags]",
    .example = "hone sft --model model.gguf --train-data examples/helpdesk/demonstrations.jsonl --output-dir runs/sft",
    .groups = groups,
    .n_groups = ARRAY_LEN(groups),
};

int cmd_sft(int argc, char **argv)
{
    struct sft_args args;
    struct options o;
    int code = command_options(&o, &spec, &args, argc, argv);
    if (code >= 0)
        return code;
    struct training t;
    struct err err;
    struct sft sft;
    unsigned kinds = 1u << ROWS_TEXT | 1u << ROWS_CHAT | 1u << ROWS_COMPLETION | 1u << ROWS_IDS;
    int rc = training_open(&t, "sft", &args.train, &o, &err);
    if (rc == 0)
        rc = training_read(&t, kinds, "text, conversations, or prompts with completions", &err);
    if (rc == 0)
        rc = training_encode(&t, args.assistant_only_loss, &err);
    if (rc == 0)
        rc = training_begin(&t, &err);
    if (rc == 0) {
        struct method method = sft_method(&sft, &t.learner);
        rc = training_run(&t, &method, &err);
    }
    if (rc == 0)
        rc = training_finish(&t, &err);
    code = training_close(&t, rc, &err);
    options_release(&o);
    return code;
}
