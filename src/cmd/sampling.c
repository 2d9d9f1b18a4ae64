#include "cmd/sampling.h"

#define FIELD(name) offsetof(struct sampling_args, name)

const struct option sampling_options[N_SAMPLING_OPTIONS] = {
    {"max_new_tokens", OPTION_INT, FIELD(max_new_tokens), "256", "tokens of an answer at most",
     .min = 1, .max = 1e6},
    {"temperature", OPTION_FLOAT, FIELD(temperature), "1",
     "0: always the likeliest token (log-probs are then those at 1)", .min = 0, .max = 100},
    {"top_p", OPTION_FLOAT, FIELD(top_p), "1",
     "draw from the likeliest tokens that have this share together; 1: all", .min = 0, .max = 1,
     .above_min = true},
    {"top_k", OPTION_INT, FIELD(top_k), "0", "draw from so many of the likeliest tokens; 0: all",
     .min = 0, .max = 1e6},
    {"min_p", OPTION_FLOAT, FIELD(min_p), "0",
     "leave out tokens less likely than this share of the likeliest; 0: none", .min = 0, .max = 1},
    {"seed", OPTION_INT, FIELD(seed), "42", "of everything random", .min = 0, .max = 4294967295.0},
};

int sampling_check(const struct sampling_args *a, struct err *err)
{
    if (a->temperature > 0 && a->temperature < 0.001)
        return err_set(
            err, "--temperature is %g: it must be 0 (always the likeliest token) or at least 0.001",
            a->temperature);
    return 0;
}

struct sampling sampling_of(const struct sampling_args *a)
{
    return (struct sampling){.temperature = (float)a->temperature,
                             .top_p = (float)a->top_p,
                             .min_p = (float)a->min_p,
                             .top_k = (int)a->top_k,
                             .seed = (uint32_t)a->seed};
}

size_t sampling_room(const struct sampling_args *a, bool asked, const struct model *m,
                     size_t n_prompt)
{
    size_t want = (size_t)a->max_new_tokens,
           room = n_prompt < m->rope.positions ? m->rope.positions - n_prompt : 0;
    return want <= room ? want : asked ? 0 : room;
}
