/* hone COMMAND [--flags]: finds the command and runs it.  A new command is a file cmd_NAME.c, a
 * line in commands.h and a row here. */
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/commands.h"

struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
};

/* In the order of --help, which is the order of the work. */
static const struct command commands[] = {
    {"demo", "the whole loop on a small real model, with a report at the end", cmd_demo},
    {"pull", "get a model from a hub", cmd_pull},
    {"inspect", "look into a model, an adapter, a run or a data set", cmd_inspect},
    {"export", "a model for other tools: transformers, peft, llama.cpp", cmd_export},
    {"tokenize", "text and conversations to token ids", cmd_tokenize},
    {"logprobs", "log-probs of given tokens", cmd_logprobs},
    {"generate", "sample answers to prompts", cmd_generate},
    {"score", "scores of answers under reward models", cmd_score},
    {"chat", "talk to a model", cmd_chat},
    {"sft", "learn from demonstrations", cmd_sft},
    {"reward", "train a reward model on comparisons", cmd_reward},
    {"average", "several reward models into one, by their weights", cmd_average},
    {"ppo", "learn from a reward model: sample, score, optimise", cmd_ppo},
    {"grpo", "learn from any mix of rewards, each answer beside others to its prompt", cmd_grpo},
    {"rloo", "the same by REINFORCE, leave one out", cmd_rloo},
    {"online-dpo", "learn from pairs of the policy's own answers, compared by a reward or an AI judge", cmd_online_dpo},
    {"dpo", "learn from pairs of answers directly", cmd_dpo},
    {"kto", "learn from answers that are each called good or bad", cmd_kto},
    {"orpo", "learn from pairs without a reference: demonstrations and odds in one", cmd_orpo},
    {"cpo", "learn from pairs without a reference: CPO, SimPO, AlphaPO", cmd_cpo},
    {"iterate", "rounds of answers, people's judgements, reward model and policy", cmd_iterate},
    {"irl", "the same from demonstrations alone: a reward that they alone earn", cmd_irl},
    {"bench", "speed of training and generation on this machine", cmd_bench},
    {"compare", "how often one model's answers beat another's", cmd_compare},
    {NULL, NULL, NULL},
};

static void print_help(FILE *out)
{
    fputs("usage: hone COMMAND [--flags]\n\n"
          "Aligns a language model with people's preferences, on this machine: SFT, reward models, "
          "PPO, DPO, KTO.\n\n",
          out);
    for (const struct command *c = commands; c->name; c++)
        fprintf(out, "  %-12s  %s\n", c->name, c->summary);
    fputs("\nhone COMMAND --help shows a command's options; hone --version the version.\n", out);
}

static int unknown(const char *word)
{
    const char *names[sizeof commands / sizeof commands[0]];
    size_t n = 0;
    for (const struct command *c = commands; c->name; c++)
        names[n++] = c->name;
    const char *near = options_nearest(word, names, n);
    if (near)
        fprintf(stderr, "hone: there is no command '%s': did you mean '%s'? (see hone --help)\n",
                word, near);
    else
        fprintf(stderr, "hone: there is no command '%s': hone --help lists them\n", word);
    return EXIT_USAGE;
}

/* GNU's OpenMP lets a thread that waits for the others spin for milliseconds.  On a machine that has other work, and its
 * user's may, the threads then mostly wait for one that cannot run: everything takes several times as long.  A hundredth of
 * that costs nothing when the machine is free.  The library reads its settings before main() does: hence the fresh start. */
static void spin_less(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    char self[4096]; /* by its own name, so that it is found under it in a list of processes */
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0 && setenv("GOMP_SPINCOUNT", "20000", 1) == 0) {
        self[n] = 0;
        execv(self, argv); /* where that cannot be, it goes on as it is */
    }
}

int main(int argc, char **argv)
{
    spin_less(argv);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk, not a sudden end */
    if (sodium_init() < 0) {
        fputs("hone: libsodium cannot start: is there a source of random numbers, /dev/urandom?\n",
              stderr);
        return EXIT_FAILED;
    }
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    int code = EXIT_DONE;
    if (!strcmp(word, "--version") || !strcmp(word, "version")) {
        puts("hone " HONE_VERSION);
    } else if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        print_help(stdout);
    } else {
        const struct command *c = commands;
        while (c->name && strcmp(c->name, word))
            c++;
        code = c->name ? c->run(argc - 1, argv + 1) : unknown(word);
    }
    /* A full disk behind `> file` shows only here. */
    if ((fflush(stdout) || ferror(stdout)) && code == EXIT_DONE) {
        fputs("hone: cannot write to standard output: is the disk full?\n", stderr);
        code = EXIT_FAILED;
    }
    return code;
}
