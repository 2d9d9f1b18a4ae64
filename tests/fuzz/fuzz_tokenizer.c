/* Any bytes as text: what is encoded and decoded comes back.  Bytes that start with '{' are also read as a tokenizer.json, which, if it can be
 * one, goes by way of a GGUF's parts into a tokenizer.json again; those that start with "{%" or "{{" as a chat template. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/chat.h"
#include "tokenizer/describe.h"
#include "tokenizer/forms.h"
#include "tokenizer/json_out.h"
#include "tokenizer/tokenizer.h"
#include "util/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_MERGES = 6, N_ADDED = 4, N_TOKENS = 256 + N_MERGES + N_ADDED, N_KINDS = 4 };

static const char *const kinds[N_KINDS] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};

/* All bytes, a few merges, a few added tokens. */
static struct tokenizer *make(const char *kind)
{
    static const char *const merges[N_MERGES] = {"a b",           "ab a", "\u0120 a",
                                                 "\u00c3 \u00a9", "1 2",  "\u0120 aba"};
    static const char *const added[N_ADDED] = {"<|a|>", "<|a|>b", " <b> ", "\u00e9!"};
    char spellings[256 + N_MERGES][12];
    const char *tokens[N_TOKENS];
    size_t lens[N_TOKENS];
    int32_t types[N_TOKENS];
    for (uint32_t i = 0, next = 256; i < 256; i++) {
        uint32_t c = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) || i >= 0xae ? i : next++;
        spellings[i][utf8_encode(spellings[i], c)] = 0;
    }
    for (int i = 0; i < N_MERGES; i++) {
        const char *space = strchr(merges[i] + 1, ' ');
        snprintf(spellings[256 + i], sizeof spellings[0], "%.*s%s", (int)(space - merges[i]),
                 merges[i], space + 1);
    }
    for (int i = 0; i < N_TOKENS; i++) {
        tokens[i] = i < 256 + N_MERGES ? spellings[i] : added[i - 256 - N_MERGES];
        lens[i] = strlen(tokens[i]);
        types[i] = i < 256 + N_MERGES ? 1 : i % 2 ? 3 : 4;
    }
    struct tokenizer_parts parts = {.model = "gpt2",
                                    .pre = kind,
                                    .tokens = tokens,
                                    .token_lens = lens,
                                    .types = types,
                                    .n_tokens = N_TOKENS,
                                    .merges = merges,
                                    .n_merges = N_MERGES,
                                    .bos = -1,
                                    .eos = -1};
    struct err err;
    struct tokenizer *t = tokenizer_from_parts(&parts, &err);
    if (!t)
        BUG("%s", err.text);
    return t;
}

static void write_forms(const struct tokenizer *t)
{
    struct err err = {{0}};
    struct description d;
    if (tokenizer_describe(&d, t, tokenizer_size(t) + 2, &err)) {
        ENSURE(err.text[0]);
        return;
    }
    char *json = tokenizer_parts_to_json(&d.parts, &err);
    if (!json)
        BUG("%s", err.text);
    struct tokenizer *again = tokenizer_from_json(json, strlen(json), &err);
    if (!again)
        BUG("%s", err.text);
    tokenizer_free(again);
    free(json);
    description_release(&d);
}

static void read_files(const char *text, size_t size)
{
    struct err err = {{0}};
    struct tokenizer *t = tokenizer_from_json(text, size, &err);
    ENSURE(t || err.text[0]);
    if (t) {
        struct ids ids = {0};
        struct buf back;
        buf_init(&back, SIZE_MAX);
        tokenizer_encode(t, &ids, text, size, &err);
        tokenizer_decode(t, &back, ids.data, ids.n, true);
        write_forms(t);
        buf_release(&back);
        ids_release(&ids);
    }
    tokenizer_free(t);
    struct chat_template *chat = chat_template_new(text, size, &err);
    ENSURE(chat || err.text[0]);
    chat_template_free(chat);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *tokenizers[N_KINDS];
    const char *text = (const char *)data;
    if (size && text[0] == '{')
        read_files(text, size);
    for (int i = 0; i < N_KINDS; i++) {
        if (!tokenizers[i])
            tokenizers[i] = make(kinds[i]);
        struct err err;
        struct ids ids = {0};
        struct buf back;
        buf_init(&back, SIZE_MAX);
        if (tokenizer_encode(tokenizers[i], &ids, text, size, &err))
            BUG("%s", err.text);
        tokenizer_decode(tokenizers[i], &back, ids.data, ids.n, false);
        if (strcmp(kinds[i], "qwen2") != 0 || !forms_may_change(FORM_C, text, size))
            ENSURE(back.len == size && memcmp(back.data, text, size) == 0);
        buf_release(&back);
        ids_release(&ids);
    }
    return 0;
}
