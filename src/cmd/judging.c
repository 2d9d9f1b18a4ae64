#include "cmd/judging.h"

#include <stdlib.h>

#include "util/file.h"
#include "util/mem.h"

#define CRITERION_CEILING (64 << 10)

#define FIELD(name) offsetof(struct judge_args, name)
const struct option judge_options[N_JUDGE_OPTIONS] = {
    {"judge", OPTION_STRING, FIELD(judge), NULL,
     "a language model that says which of two answers is better (docs/methods/judge.md): a model, or a run's folder", .value = "MODEL"},
    {"judge_adapter", OPTION_STRING, FIELD(judge_adapter), NULL, "an adapter for the judge", .value = "PATH"},
    {"judge_criterion", OPTION_STRING, FIELD(judge_criterion), NULL,
     "what makes an answer the better one, in words, or @FILE that holds them; otherwise: helpful, true, harmless", .value = "TEXT"},
};
#undef FIELD

static int read_criterion(struct judge_model *m, const char *text, struct err *err)
{
    struct buf file;
    buf_init(&file, CRITERION_CEILING);
    int rc = text[0] == '@' ? file_read(text + 1, &file, err) : 0;
    if (text[0] != '@')
        buf_str(&file, text);
    while (file.len && (file.data[file.len - 1] == '\n' || file.data[file.len - 1] == ' '))
        file.len--;
    m->criterion = xstrndup(file.data, file.len);
    if (rc == 0 && !m->criterion[0])
        rc = err_set(err, "the criterion is empty: say in words what makes an answer the better one");
    buf_release(&file);
    return rc ? err_prefix(err, "--judge-criterion") : 0;
}

int judge_model_open(struct judge_model *m, const struct judge_args *args, const struct loaded *base, size_t micro_tokens,
                     struct err *err)
{
    *m = (struct judge_model){0};
    if (policy_open_any(&m->policy, args->judge, args->judge_adapter, base, err))
        return err_prefix(err, "--judge");
    int rc = args->judge_criterion ? read_criterion(m, args->judge_criterion, err) : 0;
    if (rc == 0 && judge_init(&m->judge, &m->policy.net, m->criterion, micro_tokens, err))
        rc = err_prefix(err, "--judge");
    if (rc == 0 && m->policy.own)
        rc = model_pack(m->policy.own, err);
    if (rc)
        judge_model_release(m);
    return rc;
}

void judge_model_release(struct judge_model *m)
{
    policy_release(&m->policy);
    free(m->criterion);
    *m = (struct judge_model){0};
}

json_t *judge_model_about(const struct judge_model *m)
{
    json_t *about = json_pack("{s:s, s:s}", "judge", m->policy.path, "criterion", m->judge.criterion);
    char hash[65];
    if (m->policy.net.adapter) {
        sha256_hex(hash, m->policy.adapter.params.data, m->policy.adapter.params.n * sizeof(float));
        json_object_set_new(about, "adapter_sha256", json_string(hash));
    }
    return about;
}
