#include "reward/mix.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reward/program.h"
#include "reward/score.h"
#include "rollout/score_input.h"
#include "util/buf.h"
#include "util/mem.h"

/* ---- reading ---- */

/* The last part of the first word's path, of letters that a metric's name may have. */
static void name_after(char *name, size_t size, const char *path)
{
    size_t n = strcspn(path, " \t"), from;
    while (n > 1 && path[n - 1] == '/')
        n--;
    for (from = n; from > 0 && path[from - 1] != '/';)
        from--;
    size_t length = n - from < size - 4 ? n - from : size - 4; /* room for a number */
    for (size_t i = 0; i < length; i++)
        name[i] = isalnum((unsigned char)path[from + i]) || strchr("._-", path[from + i]) ? path[from + i] : '_';
    name[length] = 0;
}

static void make_different(struct reward_mix *mix, struct reward_part *r)
{
    size_t same = 1, length = strlen(r->name);
    for (const struct reward_part *other = mix->list; other < r; other++)
        same += !strncmp(other->name, r->name, length) && (other->name[length] == 0 || other->name[length] == '_');
    if (same > 1)
        snprintf(r->name + length, sizeof r->name - length, "_%zu", same);
}

static int parse_part(struct reward_part *r, const char *text, struct err *err)
{
    *r = (struct reward_part){.text = text, .weight = 1};
    if (!strncmp(text, "rule:", 5)) {
        r->kind = REWARD_RULE;
        if (rule_parse(&r->rule, text + 5, err))
            return err_prefix(err, "the reward '%.100s'", text);
        name_after(r->name, sizeof r->name, rule_name(&r->rule));
    } else if (!strncmp(text, "program:", 8)) {
        r->kind = REWARD_PROGRAM;
        r->command = text + 8;
        if (!r->command[strspn(r->command, " \t")])
            return err_set(err, "the reward '%s' names no program: write program:./NAME", text);
        name_after(r->name, sizeof r->name, r->command);
    } else {
        r->kind = REWARD_MODEL;
        name_after(r->name, sizeof r->name, text);
    }
    return 0;
}

int reward_mix_parse(struct reward_mix *mix, const char *const *texts, size_t n, const char *const *weights, size_t n_weights,
                     struct err *err)
{
    *mix = (struct reward_mix){0};
    if (n > MAX_REWARDS)
        return err_set(err, "%zu rewards are more than the %d that are taken", n, MAX_REWARDS);
    if (n_weights && n_weights != n)
        return err_set(err, "there are %zu reward_weights for %zu rewards: give one for each, or none", n_weights, n);
    for (size_t i = 0; i < n; i++) {
        struct reward_part *r = &mix->list[i];
        char *end = NULL;
        if (parse_part(r, texts[i], err))
            return -1;
        mix->n++;
        make_different(mix, r);
        if (n_weights)
            r->weight = strtod(weights[i], &end);
        if (n_weights && (end == weights[i] || *end || !isfinite(r->weight)))
            return err_set(err, "the reward weight '%s' is no finite number", weights[i]);
    }
    return 0;
}

char *reward_text_file(const char *text)
{
    static const char rubric[] = "rule:rubric:", program[] = "program:";
    if (!strncmp(text, rubric, sizeof rubric - 1))
        return xstrdup(text + sizeof rubric - 1);
    return strncmp(text, program, sizeof program - 1) ? NULL : program_file(text + sizeof program - 1);
}

void reward_mix_release(struct reward_mix *mix)
{
    for (size_t i = 0; i < mix->n; i++)
        rule_release(&mix->list[i].rule);
    *mix = (struct reward_mix){0};
}

/* ---- before work starts ---- */

bool reward_mix_reads_rows(const struct reward_mix *mix)
{
    for (size_t i = 0; i < mix->n; i++)
        if (mix->list[i].kind == REWARD_PROGRAM || (mix->list[i].kind == REWARD_RULE && rule_reads_row(&mix->list[i].rule)))
            return true;
    return false;
}

static bool reads_text(const struct reward_part *r)
{
    return r->kind == REWARD_PROGRAM || (r->kind == REWARD_RULE && rule_reads_text(&r->rule));
}

int reward_mix_check(const struct reward_mix *mix, const struct dataset *rows, const struct model *m, struct err *err)
{
    for (size_t i = 0; i < mix->n; i++) {
        const struct reward_part *r = &mix->list[i];
        double ignored;
        char nothing[] = "";
        struct answer_text empty = {.row = &rows->rows[0], .text = nothing, .max_tokens = mix->max_tokens};
        if (reads_text(r) && !m->tokenizer)
            return err_set(err, "the reward '%s' reads answers as text, but '%s' has no tokenizer: name one with --tokenizer", r->text,
                           m->path);
        if (r->kind == REWARD_RULE && rule_check(&r->rule, rows, err))
            return -1;
        if (r->kind == REWARD_PROGRAM && program_score(&ignored, r->command, &empty, 1, mix->program_seconds, err))
            return err_prefix(err, "tried on an empty answer");
    }
    return 0;
}

/* ---- scores ---- */

/* The completions as text: fresh strings in fresh texts. */
static struct answer_text *answers_of(const struct reward_mix *mix, const struct experience *x, const struct model *m)
{
    struct answer_text *answers = xcalloc(x->n + 1, sizeof *answers);
    for (size_t i = 0; i < x->examples.n; i++)
        for (size_t c = x->tree[i]; c < x->tree[i + 1]; c++) {
            struct answer_text *a = &answers[c];
            *a = (struct answer_text){.row = x->examples.list[i].row, .tokens = x->first[c + 1] - x->first[c],
                                      .max_tokens = mix->max_tokens, .finished = x->finished[c]};
            a->text = m->tokenizer ? experience_text(x, i, c, m->tokenizer, &a->n) : xstrdup("");
        }
    return answers;
}

/* spread, if not NULL, is added to where the part has several members; ood, if not NULL, is set where it is out of distribution. */
static int model_scores(double *scores, double *spread, bool *ood, const struct reward_mix *mix, const struct reward_part *r, const struct experience *x,
                        const struct model *m, struct err *err)
{
    struct examples input;
    if (score_input(&input, x, m, err))
        return -1;
    size_t count = r->n_nets * x->n;
    float *all = xcalloc(2 * count + 1, sizeof *all), *far = ood ? all + count : NULL;
    float *own = xcalloc(r->n_nets + 1, sizeof *own);
    int rc = score_ensemble(all, far, r->nets, r->n_nets, &input, mix->micro_tokens, NULL, NULL, err);
    for (size_t i = 0; rc == 0 && i < x->n; i++) {
        for (size_t k = 0; k < r->n_nets; k++)
            own[k] = all[k * x->n + i];
        struct score_summary s = score_summary(own, r->n_nets, &mix->aggregate);
        scores[i] = (double)s.score;
        if (spread)
            spread[i] += fabs(r->weight) * (double)s.std;
        for (size_t k = 0; ood && k < r->n_nets; k++)
            own[k] = far[k * x->n + i];
        if (ood)
            ood[i] |= score_ood(own, r->n_nets) > 1; /* not where nobody knows: NAN */
    }
    free(all);
    free(own);
    examples_release(&input);
    return rc;
}

static size_t models_of(const struct reward_mix *mix, size_t *members)
{
    size_t models = 0;
    *members = 0;
    for (size_t i = 0; i < mix->n; i++)
        if (mix->list[i].kind == REWARD_MODEL) {
            models++;
            *members = mix->list[i].n_nets > *members ? mix->list[i].n_nets : *members;
        }
    return models;
}

bool reward_mix_disagrees(const struct reward_mix *mix)
{
    size_t members;
    return models_of(mix, &members) > 1 || members > 1;
}

bool reward_mix_knows_ood(const struct reward_mix *mix)
{
    for (size_t i = 0; i < mix->n; i++)
        for (size_t k = 0; k < mix->list[i].n_nets; k++)
            if (mix->list[i].nets[k]->ood)
                return true;
    return false;
}

/* Parts of one member each: the standard deviation over them. */
static void spread_over_parts(double *spread, const double *scores, const struct reward_mix *mix, size_t n)
{
    const struct aggregate_config plain = {.kind = AGGREGATE_MEAN};
    for (size_t c = 0; c < n; c++) {
        float own[MAX_REWARDS];
        size_t k = 0;
        for (size_t i = 0; i < mix->n; i++)
            if (mix->list[i].kind == REWARD_MODEL)
                own[k++] = (float)scores[i * n + c];
        spread[c] = k ? (double)score_summary(own, k, &plain).std : 0;
    }
}

int reward_mix_score(double *scores, double *spread, bool *ood, const struct reward_mix *mix, const struct experience *x, const struct model *m,
                     struct err *err)
{
    struct answer_text *answers = answers_of(mix, x, m);
    size_t members;
    int rc = 0;
    models_of(mix, &members);
    for (size_t c = 0; spread && c < x->n; c++)
        spread[c] = 0;
    for (size_t c = 0; ood && c < x->n; c++)
        ood[c] = false;
    for (size_t i = 0; rc == 0 && i < mix->n; i++) {
        const struct reward_part *r = &mix->list[i];
        double *own = scores + i * x->n;
        if (r->kind == REWARD_MODEL)
            rc = model_scores(own, members > 1 ? spread : NULL, ood, mix, r, x, m, err);
        else if (r->kind == REWARD_PROGRAM)
            rc = program_score(own, r->command, answers, x->n, mix->program_seconds, err);
        else
            rc = rule_score(own, &r->rule, answers, x->n, err);
    }
    if (rc == 0 && spread && members <= 1)
        spread_over_parts(spread, scores, mix, x->n);
    for (size_t c = 0; c < x->n; c++)
        free(answers[c].text);
    free(answers);
    return rc;
}

int reward_mix_total(double *total, const double *scores, const struct reward_mix *mix, const struct experience *x, double eos_penalty,
                     struct err *err)
{
    for (size_t c = 0; c < x->n; c++) {
        double sum = 0;
        for (size_t i = 0; i < mix->n; i++)
            sum += mix->list[i].weight * scores[i * x->n + c];
        if (!isfinite(sum))
            return err_set(err, "the score of a completion is not finite");
        total[c] = sum - (x->finished[c] ? 0 : eos_penalty);
    }
    return 0;
}
