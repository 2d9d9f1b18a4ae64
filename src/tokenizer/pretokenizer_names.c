/* The pre-tokenizers that GGUF files name, as the families' own tokenizer.json have them. */
#include <string.h>

#include "tokenizer/pretokenizer.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORDS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SIGNS "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define SIGNS_OR_SLASH "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(upper, lower, end) \
    "[^\\r\\n\\p{L}\\p{N}]?" upper "*" lower "+" end "|[^\\r\\n\\p{L}\\p{N}]?" upper "+" lower "*" end
#define NOT_HAN(set) "(?:(?!\\p{Han})" set ")"
#define DEEPSEEK_WORDS \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" \
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*" SPACES
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 CONTRACTIONS WORDS "|\\p{N}{1,3}" SIGNS SPACES

/* The letters that DeepSeek's first models take for words: those that have a case. */
#define DEEPSEEK_LETTERS \
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377" \
    "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556" \
    "\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15" \
    "\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe" \
    "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113" \
    "\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184" \
    "\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e" \
    "\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3" \
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"

#define MAX_PATTERNS 7 /* the last is NULL */

const char pretokenizer_to_letters[] = "letters";

enum rule {
    RULE_GPT2, RULE_DIGITS_GPT2, RULE_LLAMA3, RULE_QWEN2, RULE_QWEN35, RULE_DEEPSEEK_LLM, RULE_DEEPSEEK_CODER, RULE_DEEPSEEK3,
    RULE_FALCON, RULE_GPT4O, RULE_TEKKEN, RULE_BLOOM, RULE_VIKING, RULE_KIMI, RULE_BAILING, RULE_SEED, RULE_EXAONE_MOE,
    RULE_MINICPM5,
};

/* Each takes the pieces of the one before apart. */
static const char *const patterns[][MAX_PATTERNS] = {
    [RULE_GPT2] = {GPT2},
    [RULE_DIGITS_GPT2] = {"\\p{N}", GPT2},
    [RULE_LLAMA3] = {LLAMA3},
    [RULE_QWEN2] = {CONTRACTIONS WORDS "|\\p{N}" SIGNS SPACES},
    [RULE_QWEN35] = {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*" SPACES},
    [RULE_DEEPSEEK_LLM] = {"[\\r\\n]", "\\s?[" DEEPSEEK_LETTERS "]+",
                           "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
                           "(?<!\\s)\\s+$", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", "\\p{N}+"},
    [RULE_DEEPSEEK_CODER] = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", "\\p{N}"},
    [RULE_DEEPSEEK3] = {"\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK_WORDS},
    [RULE_FALCON] = {"[\\p{P}!-/:-@\\[-`{-~]+", GPT2, pretokenizer_to_letters, "\\p{N}+", "[0-9][0-9][0-9]"},
    [RULE_GPT4O] = {CASED(UPPER, LOWER, CONTRACTIONS "?") "|\\p{N}{1,3}" SIGNS_OR_SLASH SPACES},
    [RULE_TEKKEN] = {CASED(UPPER, LOWER, "") "|\\p{N}" SIGNS_OR_SLASH SPACES},
    [RULE_BLOOM] = {" ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"},
    [RULE_VIKING] = {" ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+", "\\p{N}"},
    [RULE_KIMI] = {"\\p{Han}+|" CASED(NOT_HAN(UPPER), NOT_HAN(LOWER), CONTRACTIONS "?") "|\\p{N}{1,3}" SIGNS SPACES},
    [RULE_BAILING] = {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]"
                      "|\\s+(?!\\S)|\\s+"},
    [RULE_SEED] = {CONTRACTIONS WORDS "|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+" SPACES},
    [RULE_EXAONE_MOE] = {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}"
                         "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"},
    [RULE_MINICPM5] = {"\\p{N}{1,3}", CONTRACTIONS WORDS "|\\p{N}+" SIGNS SPACES},
};

#define IGNORE_MERGES {.ignore_merges = true}
#define NFC {.nfc = true}
#define LLAMA3_TRAITS {.ignore_merges = true, .add_bos = true}

static const struct {
    const char *name;
    enum rule rule;
    struct pretokenizer_traits traits;
} known[] = {
    {"default", RULE_GPT2},
    {"gpt-2", RULE_GPT2},
    {"gpt2", RULE_GPT2},
    {"phi-2", RULE_GPT2},
    {"mpt", RULE_GPT2, NFC},
    {"olmo", RULE_GPT2, NFC},
    {"modern-bert", RULE_GPT2, NFC},
    {"jais", RULE_GPT2},
    {"mellum", RULE_GPT2},
    {"gigachat", RULE_GPT2},
    {"trillion", RULE_GPT2},
    {"exaone4", RULE_GPT2},
    {"granite-docling", RULE_GPT2},
    {"smollm", RULE_DIGITS_GPT2},
    {"starcoder", RULE_DIGITS_GPT2},
    {"refact", RULE_DIGITS_GPT2},
    {"command-r", RULE_DIGITS_GPT2, NFC},
    {"codeshell", RULE_DIGITS_GPT2},
    {"exaone", RULE_DIGITS_GPT2},
    {"minerva-7b", RULE_DIGITS_GPT2},
    {"llama-bpe", RULE_LLAMA3, LLAMA3_TRAITS},
    {"llama-v3", RULE_LLAMA3, LLAMA3_TRAITS},
    {"llama3", RULE_LLAMA3, LLAMA3_TRAITS},
    {"falcon3", RULE_LLAMA3, LLAMA3_TRAITS},
    {"falcon-h1", RULE_LLAMA3, LLAMA3_TRAITS},
    {"pixtral", RULE_LLAMA3, LLAMA3_TRAITS},
    {"lfm2", RULE_LLAMA3, LLAMA3_TRAITS},
    {"midm-2.0", RULE_LLAMA3, LLAMA3_TRAITS},
    {"dbrx", RULE_LLAMA3},
    {"smaug-bpe", RULE_LLAMA3},
    {"glm4", RULE_LLAMA3},
    {"chatglm-bpe", RULE_LLAMA3},
    {"qwen2", RULE_QWEN2, NFC},
    {"deepseek-r1-qwen", RULE_QWEN2, NFC},
    {"megrez", RULE_QWEN2, NFC},
    {"stablelm2", RULE_QWEN2},
    {"hunyuan", RULE_QWEN2},
    {"qwen35", RULE_QWEN35, NFC},
    {"deepseek-llm", RULE_DEEPSEEK_LLM},
    {"deepseek-coder", RULE_DEEPSEEK_CODER},
    {"deepseek-v3", RULE_DEEPSEEK3},
    {"hunyuan-dense", RULE_DEEPSEEK3},
    {"falcon", RULE_FALCON},
    {"gpt-4o", RULE_GPT4O},
    {"llama4", RULE_GPT4O},
    {"kanana2", RULE_GPT4O},
    {"minimax-m2", RULE_GPT4O},
    {"tekken", RULE_TEKKEN, LLAMA3_TRAITS},
    {"bloom", RULE_BLOOM},
    {"poro-chat", RULE_BLOOM},
    {"gpt3-finnish", RULE_BLOOM},
    {"viking", RULE_VIKING},
    {"kimi-k2", RULE_KIMI},
    {"bailingmoe", RULE_BAILING},
    {"bailingmoe2", RULE_BAILING},
    {"llada-moe", RULE_BAILING},
    {"seed-coder", RULE_SEED},
    {"exaone-moe", RULE_EXAONE_MOE},
    {"minicpm5", RULE_MINICPM5, IGNORE_MERGES},
};

#define N_KNOWN (sizeof known / sizeof *known)

const char *pretokenizer_name(size_t i)
{
    return i < N_KNOWN ? known[i].name : NULL;
}

const char *const *pretokenizer_patterns(const char *name, struct pretokenizer_traits *traits, struct err *err)
{
    size_t i = 0;
    while (i < N_KNOWN && strcmp(known[i].name, name ? name : "default") != 0)
        i++;
    if (i == N_KNOWN) {
        struct buf names;
        buf_init(&names, 900);
        for (size_t k = 0; k < N_KNOWN; k++)
            buf_printf(&names, "%s%s", k ? ", " : "", known[k].name);
        err_set(err, "the pre-tokenizer '%.60s' is not supported: supported are %s", name, names.data);
        buf_release(&names);
        return NULL;
    }
    *traits = known[i].traits;
    return patterns[known[i].rule];
}

int pretokenizer_add_named(struct pretokenizer *p, const char *name, struct pretokenizer_traits *traits, struct err *err)
{
    const char *const *list = pretokenizer_patterns(name, traits, err);
    if (!list)
        return -1;
    for (size_t i = 0; list[i]; i++)
        if (list[i] == pretokenizer_to_letters
                ? pretokenizer_add_letters(p, err)
                : pretokenizer_add_split(p, list[i], strlen(list[i]), REGEX_FILE, SPLIT_ISOLATED, false, err))
            return -1;
    return 0;
}
