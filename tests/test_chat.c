/* Chat templates: what Jinja renders, where the answers are, and that a prompt is a prefix of
 * prompt and completion. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/chat.h"
#include "support/support.h"
#include "util/file.h"
#include "util/mem.h"

#define BODY                                                                                       \
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
#define PROMPT "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
#define PLAIN "{% for message in messages %}" BODY "{% endfor %}" PROMPT
#define FIRST_IS_NO_SYSTEM "{% if loop.first and messages[0]['role'] != 'system' %}"
#define WITH_SYSTEM                                                                                \
    "{% for message in messages %}" FIRST_IS_NO_SYSTEM                                             \
    "{{ '<|im_start|>system\\nYou\\'re \"kind\"<|im_end|>\\n' }}{% endif %}" BODY                  \
    "{% endfor %}" PROMPT

static struct chat_template *template_of(const char *text)
{
    struct err err;
    struct chat_template *t = chat_template_new(text, strlen(text), &err);
    if (!t)
        fail_msg("%s", err.text);
    return t;
}

static void expect_text(const struct chat_template *t, const struct message *m, size_t n,
                        bool prompt, const char *want)
{
    struct err err;
    struct buf text;
    buf_init(&text, 10000);
    if (chat_render(t, m, n, prompt, NULL, &text, &err))
        fail_msg("%s", err.text);
    assert_string_equal(text.data, want);
    buf_release(&text);
}

static const struct message talk[] = {{"user", "Hi\n"},
                                      {"assistant", "\n Hello."},
                                      {"tool", "{}"},
                                      {"user", ""},
                                      {"assistant", "Bye"}};

#define TALK                                                                                       \
    "<|im_start|>user\nHi\n<|im_end|>\n<|im_start|>assistant\n\n "                                 \
    "Hello.<|im_end|>\n<|im_start|>tool\n{}<|im_end|>\n"                                           \
    "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\nBye<|im_end|>\n"
#define SYSTEM "<|im_start|>system\nYou're \"kind\"<|im_end|>\n"

static void test_render(void **state)
{
    (void)state;
    struct chat_template *plain = template_of(PLAIN), *kind = template_of(WITH_SYSTEM);
    const struct message own[] = {{"system", "Be terse."}, {"user", "2+2?"}};
    assert_null(chat_default_system(plain));
    assert_string_equal(chat_default_system(kind), "You're \"kind\"");
    assert_string_equal(chat_turn_end(kind), "<|im_end|>");

    expect_text(plain, talk, 5, false, TALK);
    expect_text(plain, talk, 5, true, TALK "<|im_start|>assistant\n");
    expect_text(kind, talk, 5, false, SYSTEM TALK);
    expect_text(kind, own, 2, true,
                "<|im_start|>system\nBe "
                "terse.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n");
    /* No message, no default: it stands in the loop. */
    expect_text(kind, NULL, 0, false, "");
    expect_text(kind, NULL, 0, true, "<|im_start|>assistant\n");
    chat_template_free(plain);
    chat_template_free(kind);
}

/* Other ways to write ChatML. */
static void test_spellings(void **state)
{
    (void)state;
    static const char *const spellings[] = {
        PLAIN "\n",
        "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% "
        "endif %}" PLAIN,
        "{#- a\ncomment -#}\n{%- for message in messages -%}\n  {{- \"<|im_start|>\" ~ "
        "message.role ~ \"\\n\" + "
        "message.content + \"<|im_end|>\\n\" -}}\n{%- endfor -%}\r\n"
        "{%- if add_generation_prompt -%} {{- '<|im_start|>assistant\n' -}} {%- endif -%}\n",
        "  {% for message in messages %}\n<|im_start|>{{ message['role'] }}\r\n{{ "
        "message['content'] }}<|im_end|>\n"
        "    {% endfor %}\n  {% if add_generation_prompt %}\n<|im_start|>assistant\n\t{% endif %}",
    };
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        struct chat_template *t = template_of(spellings[i]);
        expect_text(t, talk, 5, true, TALK "<|im_start|>assistant\n");
        chat_template_free(t);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sentence;
    } refused[] = {
        {"{{ raise('no') }}\nand {% more %}", "starts '{{ raise('no') }} and {% more %}': line 2: the statement 'more'"},
        {"{% for message in messages", "line 1: the tag has no end"},
        {"{{ messages | wordwrap }}", "line 1: the filter 'wordwrap' is not supported"},
        {"\n{{ 'x", "line 2: a string has no end"},
        {"{{ \001 }}", "U+0001"},
    };
    struct err err;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct chat_template *bad = chat_template_new(refused[i].text, strlen(refused[i].text), &err);
        if (bad || !strstr(err.text, refused[i].sentence))
            fail_msg("'%s': '%s'", refused[i].text, err.text);
    }
    assert_null(chat_template_new("", 0, &err));
    assert_non_null(strstr(err.text, "empty"));

    struct chat_template *t = template_of(PLAIN);
    struct buf text;
    buf_init(&text, 60);
    const struct message odd = {"critic", "no"},
                         large = {"user", "0123456789012345678901234567890123456789"};
    assert_int_equal(chat_render(t, &odd, 1, false, NULL, &text, &err), -1);
    assert_non_null(strstr(err.text, "message 0 has the role 'critic'"));
    assert_int_equal(chat_render(t, &large, 1, false, NULL, &text, &err), -1);
    assert_non_null(strstr(err.text, "longer than 60 bytes"));
    buf_release(&text);
    chat_template_free(t);
}

static void test_spans(void **state)
{
    (void)state;
    struct chat_template *t = template_of(WITH_SYSTEM);
    struct chat_spans spans = {0};
    struct buf text;
    struct err err;
    buf_init(&text, 10000);
    buf_str(&text, "before"); /* what is there already stays */
    assert_int_equal(chat_render(t, talk, 5, true, &spans, &text, &err), 0);
    static const struct {
        size_t message;
        enum chat_span_kind kind;
        const char *text;
    } want[] = {
        {CHAT_NO_MESSAGE, CHAT_CONTEXT, SYSTEM},
        {0, CHAT_CONTEXT, "<|im_start|>user\nHi\n<|im_end|>\n"},
        {1, CHAT_CONTEXT, "<|im_start|>assistant\n"},
        {1, CHAT_ANSWER, "\n Hello.<|im_end|>\n"},
        {2, CHAT_CONTEXT, "<|im_start|>tool\n{}<|im_end|>\n"},
        {3, CHAT_CONTEXT, "<|im_start|>user\n<|im_end|>\n"},
        {4, CHAT_CONTEXT, "<|im_start|>assistant\n"},
        {4, CHAT_ANSWER, "Bye<|im_end|>\n"},
        {CHAT_NO_MESSAGE, CHAT_CONTEXT, "<|im_start|>assistant\n"},
    };
    size_t n = sizeof want / sizeof *want, at = 6;
    assert_int_equal(spans.n, n);
    for (size_t i = 0; i < n; i++) {
        const struct chat_span *s = &spans.data[i];
        assert_int_equal(s->message, want[i].message);
        assert_int_equal(s->kind, want[i].kind);
        assert_int_equal(s->start, at);
        assert_int_equal(s->end - s->start, strlen(want[i].text));
        assert_memory_equal(text.data + s->start, want[i].text, s->end - s->start);
        at = s->end;
    }
    assert_int_equal(at, text.len);
    chat_spans_release(&spans);
    buf_release(&text);
    chat_template_free(t);
}

/* A small tokenizer with the ids of bytes, but for "\n\n" and the markers, which are tokens. */
static struct tokenizer *small_tokenizer(void)
{
    char spellings[260][4];
    const char *tokens[260], *merges[] = {"\u010a \u010a"};
    size_t lens[260];
    int32_t types[260];
    for (int i = 0, next = 256; i < 256; i++) {
        int c = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) || i >= 0xae ? i : next++;
        lens[i] = (size_t)snprintf(spellings[i], 4, c < 128 ? "%c" : "%c%c",
                                   c < 128 ? c : 0xc0 | c >> 6, 0x80 | (c & 63));
        tokens[i] = spellings[i];
        types[i] = 1;
    }
    static const char *const more[] = {"\u010a\u010a", "<|im_start|>", "<|im_end|>"};
    for (int i = 0; i < 3; i++) {
        tokens[256 + i] = more[i];
        lens[256 + i] = strlen(more[i]);
        types[256 + i] = i ? 3 : 1;
    }
    struct tokenizer_parts parts = {.model = "gpt2",
                                    .pre = "gpt-2",
                                    .tokens = tokens,
                                    .token_lens = lens,
                                    .types = types,
                                    .n_tokens = 259,
                                    .merges = merges,
                                    .n_merges = 1,
                                    .bos = -1,
                                    .eos = 258};
    struct err err;
    struct tokenizer *t = tokenizer_from_parts(&parts, &err);
    if (!t)
        fail_msg("%s", err.text);
    return t;
}

struct encoded {
    struct ids ids;
    struct buf mask;
};

static struct encoded encode(const struct chat_template *t, const struct tokenizer *tokenizer,
                             const struct message *m, size_t n, bool prompt, size_t first_trained)
{
    struct encoded e = {0};
    struct err err;
    buf_init(&e.mask, 100000);
    if (chat_encode(t, tokenizer, m, n, prompt, first_trained, &e.ids, &e.mask, &err))
        fail_msg("%s", err.text);
    assert_int_equal(e.ids.n, e.mask.len);
    return e;
}

static void encoded_release(struct encoded *e)
{
    ids_release(&e->ids);
    buf_release(&e->mask);
}

/* The text of the tokens that the mask picks. */
static void expect_trained(const struct encoded *e, const struct tokenizer *tokenizer,
                           const char *want)
{
    struct buf text;
    buf_init(&text, 100000);
    for (size_t i = 0; i < e->ids.n; i++)
        if (e->mask.data[i])
            tokenizer_decode(tokenizer, &text, &e->ids.data[i], 1, false);
    assert_string_equal(text.data, want);
    buf_release(&text);
}

static void expect_prefix(const struct encoded *prefix, const struct encoded *whole)
{
    assert_true(prefix->ids.n < whole->ids.n);
    assert_memory_equal(prefix->ids.data, whole->ids.data,
                        prefix->ids.n * sizeof *prefix->ids.data);
}

static void test_encode(void **state)
{
    (void)state;
    struct chat_template *t = template_of(WITH_SYSTEM);
    struct tokenizer *tokenizer = small_tokenizer();
    struct encoded whole = encode(t, tokenizer, talk, 5, false, 0),
                   last = encode(t, tokenizer, talk, 5, false, 2),
                   none = encode(t, tokenizer, talk, 5, false, 5);
    expect_trained(&whole, tokenizer, "\n Hello.<|im_end|>\nBye<|im_end|>\n");
    expect_trained(&last, tokenizer, "Bye<|im_end|>\n");
    expect_trained(&none, tokenizer, "");
    assert_int_equal(whole.ids.n, last.ids.n);

    struct buf text;
    buf_init(&text, 10000);
    tokenizer_decode(tokenizer, &text, whole.ids.data, whole.ids.n, false);
    assert_string_equal(text.data, SYSTEM TALK);
    buf_release(&text);

    /* The answer begins with the line break that would merge with the prompt's last one. */
    struct encoded prompt = encode(t, tokenizer, talk, 1, true, 0),
                   answer = encode(t, tokenizer, talk, 2, false, 0),
                   later = encode(t, tokenizer, talk, 4, true, 0);
    expect_prefix(&prompt, &answer);
    expect_prefix(&answer, &whole);
    expect_prefix(&later, &whole);
    expect_trained(&prompt, tokenizer, "");

    /* More is appended; an odd role leaves an error. */
    struct err err;
    size_t n = prompt.ids.n;
    assert_int_equal(chat_encode(t, tokenizer, talk, 1, true, 0, &prompt.ids, NULL, &err), 0);
    assert_int_equal(prompt.ids.n, 2 * n);
    const struct message odd = {"narrator", ""};
    assert_int_equal(chat_encode(t, tokenizer, &odd, 1, true, 0, &prompt.ids, NULL, &err), -1);

    encoded_release(&whole);
    encoded_release(&last);
    encoded_release(&none);
    encoded_release(&prompt);
    encoded_release(&answer);
    encoded_release(&later);
    tokenizer_free(tokenizer);
    chat_template_free(t);
}

static void put(const char *folder, const char *name, const char *text)
{
    struct err err;
    char *path = path_join(folder, name);
    if (file_write(path, text, strlen(text), &err))
        fail_msg("%s", err.text);
    free(path);
}

static void expect_default_system(const char *folder, const char *want)
{
    struct err err;
    struct chat_template *t = chat_template_open(folder, &err);
    if (!t)
        fail_msg("%s", err.text);
    if (want)
        assert_string_equal(chat_default_system(t), want);
    else
        assert_null(chat_default_system(t));
    chat_template_free(t);
}

static void expect_rendered(const char *folder, const char *want)
{
    struct err err;
    struct chat_template *t = chat_template_open(folder, &err);
    if (!t)
        fail_msg("%s", err.text);
    expect_text(t, NULL, 0, false, want);
    chat_template_free(t);
}

static void put_config(const char *folder, json_t *config)
{
    char *text = json_dumps(config, 0);
    put(folder, "tokenizer_config.json", text);
    free(text);
    json_decref(config);
}

static void test_folder(void **state)
{
    (void)state;
    char folder[] = "/tmp/hone-chat-XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct err err;
    assert_null(chat_template_open(folder, &err));
    assert_non_null(strstr(err.text, "no chat template"));
    put(folder, "tokenizer_config.json", "{\"model_max_length\": 1000000000000000019884624838656}");
    assert_null(chat_template_open(folder, &err));
    assert_non_null(strstr(err.text, "no chat_template"));
    put_config(folder, json_pack("{s:s}", "chat_template", WITH_SYSTEM));
    expect_default_system(folder, "You're \"kind\"");
    put_config(folder, json_pack("{s:[{s:s,s:s},{s:s,s:s}]}", "chat_template", "name", "tool_use",
                                 "template", "{{ x }}", "name", "default", "template", PLAIN));
    expect_default_system(folder, NULL);
    put(folder, "tokenizer_config.json", "{");
    assert_null(chat_template_open(folder, &err));
    assert_non_null(strstr(err.text, "line 1"));
    put(folder, "chat_template.jinja", WITH_SYSTEM);
    expect_default_system(folder, "You're \"kind\"");
    /* Special tokens are text, or objects; the map comes second. */
    put_config(folder, json_pack("{s:s, s:{s:s}, s:n}", "bos_token", "<s>", "eos_token", "content", "</s>", "pad_token"));
    put(folder, "chat_template.jinja", "{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}");
    expect_rendered(folder, "<s></s>False");
    put(folder, "special_tokens_map.json", "{\"eos_token\": \"<end>\"}");
    expect_rendered(folder, "<s><end>False");
    put(folder, "chat_template.jinja", "{% other %}");
    assert_null(chat_template_open(folder, &err));
    assert_non_null(
        strstr(err.text, "chat_template.jinja': the chat template that starts '{% other %}'"));
    assert_int_equal(dir_remove(folder, &err), 0);
}

/* The prompts of the real model's golden continuations. */
static void test_smollm2(void **state)
{
    (void)state;
    const char *shared = shared_folder();
    if (!shared) {
        print_message("the shared folder is not there: SmolLM2's prompts are skipped\n");
        skip();
    }
    char *folder = path_join(shared, "golden/trl/model"),
         *path = path_join(shared, "golden/smollm2-135m/greedy.json");
    struct err err;
    struct tokenizer *tokenizer = tokenizer_open(folder, &err);
    struct chat_template *t = chat_template_open(folder, &err);
    if (!tokenizer || !t)
        fail_msg("%s", err.text);
    assert_string_equal(chat_default_system(t),
                        "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
    json_t *o = golden_json(path), *row;
    size_t i;
    assert_true(json_array_size(json_object_get(o, "results")) > 0);
    json_array_foreach(json_object_get(o, "results"), i, row)
    {
        const char *prompt = json_string_value(json_object_get(row, "prompt"));
        struct message m[2] = {{"user", (char *)prompt}, {"assistant", "Well.\n"}};
        struct encoded e = encode(t, tokenizer, m, 1, true, 0),
                       both = encode(t, tokenizer, m, 2, false, 0);
        int32_t *want;
        size_t n = json_ids(json_object_get(row, "prompt_ids"), &want);
        assert_int_equal(e.ids.n, n);
        assert_memory_equal(e.ids.data, want, n * sizeof *want);
        expect_prefix(&e, &both);
        expect_trained(&both, tokenizer, "Well.\n<|im_end|>\n");
        encoded_release(&e);
        encoded_release(&both);
        free(want);
    }
    json_decref(o);
    chat_template_free(t);
    tokenizer_free(tokenizer);
    free(path);
    free(folder);
}

/* ---- templates of our own: how answers are told ---- */

#define EACH(body) "{% for m in messages %}" body "{% endfor %}"

static const struct {
    const char *what, *template;
    const char *text; /* of `talk_two`, after which no prompt asks */
    const char *answers[2];
    const char *end_of_turn, *generation_prompt, *default_system;
    const char *problem; /* why answers cannot be told: a part of the sentence */
} forms[] = {
    {.what = "what asks stands in the user's message",
     .template = "{{ bos_token }}" EACH("{% if m.role == 'user' %}[ASK] {{ m.content }} [/ASK]{% else %}"
                                        " {{ m.content | trim }}{{ eos_token }}{% endif %}"),
     .text = "<s>[ASK] one [/ASK] two</s>[ASK] three [/ASK] four</s>",
     .answers = {" two</s>", " four</s>"},
     .end_of_turn = "</s>",
     .generation_prompt = ""},
    {.what = "the first token is part of the first message, the last one of none",
     .template = EACH("{% set c = '<' ~ m.role ~ '>' ~ m.content ~ '<end>' %}{% if loop.first %}{% set c = bos_token ~ c "
                      "%}{% endif %}{{ c }}") "{% if add_generation_prompt %}<assistant>{% else %}{{ eos_token }}{% endif %}",
     .text = "<s><user>one<end><assistant>two<end><user>three<end><assistant>four<end></s>",
     .answers = {"two<end>", "four<end>"},
     .end_of_turn = "<end>",
     .generation_prompt = "<assistant>"},
    {.what = "what asks is written in the round of the last message",
     .template = EACH("<{{ m.role }}>\n{{ m.content }}{{ eos_token }}\n{% if loop.last and add_generation_prompt %}\n"
                      "{{ '<assistant>\n' }}{% endif %}"),
     .text = "<user>\none</s>\n<assistant>\ntwo</s>\n<user>\nthree</s>\n<assistant>\nfour</s>\n",
     .answers = {"two</s>\n", "four</s>\n"},
     .end_of_turn = "</s>",
     .generation_prompt = "<assistant>\n"},
    {.what = "generation blocks",
     .template = EACH("{% if m.role == 'assistant' %}A: {% generation %}{{ m.content }}#{% endgeneration %};\n"
                      "{% else %}U: {{ m.content }};\n{% endif %}") "{% if add_generation_prompt %}A: {% endif %}",
     .text = "U: one;\nA: two#;\nU: three;\nA: four#;\n",
     .answers = {"two#", "four#"},
     .end_of_turn = "#;",
     .generation_prompt = "A: "},
    {.what = "the last answer has a place for thoughts",
     .template = EACH("<{{ m.role }}>{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}{{ m.content "
                      "}}<end>\n") "{% if add_generation_prompt %}<assistant>{% if no_thoughts %}<think></think>{% endif "
                                   "%}{% endif %}",
     .text = "<user>one<end>\n<assistant>two<end>\n<user>three<end>\n<assistant><think></think>four<end>\n",
     .answers = {"two<end>\n", "<think></think>four<end>\n"},
     .end_of_turn = "<end>",
     .generation_prompt = "<assistant>"},
    {.what = "the prompt asks for thoughts that answers do not keep",
     .template = EACH("<{{ m.role }}>{{ m.content.split('</think>')[-1] }}<end>") "{% if add_generation_prompt "
                                                                                "%}<assistant><think>{% endif %}",
     .text = "<user>one<end><assistant>two<end><user>three<end><assistant>four<end>",
     .answers = {"two<end>", "four<end>"},
     .end_of_turn = "<end>",
     .generation_prompt = "<assistant><think>"},
    {.what = "a default system message in front of the loop, and a loop that only looks",
     .template = "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}{% set messages = messages[1:] %}"
                 "{% else %}{% set s = 'Be kind.' %}{% endif %}S:{{ s }}\n" EACH(
                     "{% if m.role == 'user' %}{{ '\n' }}{% endif %}") EACH("{{ m.role[0] }}:{{ m.content }}\n") "{% if add_generation_prompt %}a:{% endif %}",
     .text = "S:Be kind.\n\n\nu:one\na:two\nu:three\na:four\n",
     .answers = {"two\n", "four\n"},
     .end_of_turn = "",
     .generation_prompt = "a:",
     .default_system = "Be kind."},
    {.what = "a macro writes the message, nothing ends it",
     .template = "{% macro show(m) %}<{{ m.role }}>{{ m.content }}{% endmacro %}" EACH("{{ show(m) }}") "{% if "
                 "add_generation_prompt %}<assistant>{% endif %}",
     .text = "<user>one<assistant>two<user>three<assistant>four",
     .answers = {"two", "four"},
     .end_of_turn = "",
     .generation_prompt = "<assistant>"},
    {.what = "messages by their index",
     .template = "{% for i in range(messages | length) %}<{{ messages[i].role }}>{{ messages[i].content }}{% endfor %}",
     .text = "<user>one<assistant>two<user>three<assistant>four",
     .end_of_turn = "",
     .problem = "does not write it in a loop over the messages"},
    {.what = "the whole in a variable",
     .template = "{% set all %}" EACH("<{{ m.role }}>{{ m.content }}") "{% endset %}{{ all }}",
     .text = "<user>one<assistant>two<user>three<assistant>four",
     .end_of_turn = "",
     .problem = "does not write it in a loop over the messages"},
    {.what = "answers twice",
     .template = EACH("<{{ m.role }}>{{ m.content }}") EACH("{{ m.content if m.role == 'assistant' }}"),
     .text = "<user>one<assistant>two<user>three<assistant>fourtwofour",
     .end_of_turn = "",
     .problem = "does not write it in a loop over the messages"},
    {.what = "answers within the round of another message",
     .template = "{% for first in messages[:1] %}" EACH("<{{ m.role }}>{{ m.content }}") "{% endfor %}",
     .text = "<user>one<assistant>two<user>three<assistant>four",
     .end_of_turn = "",
     .problem = "does not write it in a loop over the messages"},
    {.what = "contents that are lists",
     .template = EACH("<{{ m.role }}>{% for part in m.content %}{{ part.text }}{% endfor %}<end>"),
     .text = "<user><end><assistant><end><user><end><assistant><end>",
     .end_of_turn = "",
     .problem = "does not write it in a loop over the messages"},
    {.what = "generation in a macro",
     .template = "{% macro show(m) %}{% generation %}{{ m.content }}{% endgeneration %}{% endmacro %}" EACH(
         "<{{ m.role }}>{{ show(m) if m.role == 'assistant' else m.content }}"),
     .text = "<user>one<assistant>two<user>three<assistant>four",
     .end_of_turn = "",
     .generation_prompt = "",
     .problem = "within a macro or a set block"},
};

static const struct message talk_two[] = {
    {"user", "one"}, {"assistant", "two"}, {"user", "three"}, {"assistant", "four"}};

static struct chat_template *form_template(size_t i)
{
    struct chat_template *t = template_of(forms[i].template);
    chat_template_set(t, "bos_token", json_string("<s>"));
    chat_template_set(t, "eos_token", json_string("</s>"));
    return t;
}

static void expect_same(const char *what, const char *name, const char *got, const char *want)
{
    if (!got != !want || (got && strcmp(got, want) != 0))
        fail_msg("%s: %s is '%s', wanted '%s'", what, name, got ? got : "none", want ? want : "none");
}

static void test_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct chat_template *t = form_template(i);
        struct chat_spans spans = {0};
        struct buf text;
        struct err err = {""};
        buf_init(&text, 10000);
        expect_text(t, talk_two, 4, false, forms[i].text);
        int rc = chat_render(t, talk_two, 4, false, &spans, &text, &err);
        if (forms[i].problem ? rc == 0 || !strstr(err.text, forms[i].problem) : rc != 0)
            fail_msg("%s: '%s'", forms[i].what, err.text);
        expect_same(forms[i].what, "the end of turn", chat_turn_end(t), forms[i].end_of_turn);
        expect_same(forms[i].what, "the default system message", chat_default_system(t), forms[i].default_system);
        if (!forms[i].problem) {
            expect_same(forms[i].what, "the generation prompt", chat_generation_prompt(t), forms[i].generation_prompt);
            assert_null(chat_spans_problem(t));
        }
        size_t at = 0, answers = 0;
        for (size_t k = 0; rc == 0 && k < spans.n; k++) {
            const struct chat_span *s = &spans.data[k];
            assert_int_equal(s->start, at);
            at = s->end;
            if (s->kind == CHAT_CONTEXT)
                continue;
            char *got = xstrndup(text.data + s->start, s->end - s->start);
            expect_same(forms[i].what, "an answer", got, forms[i].answers[answers]);
            assert_int_equal(s->message, 2 * answers + 1);
            answers++;
            free(got);
        }
        assert_int_equal(answers, forms[i].problem ? 0 : 2);
        chat_spans_release(&spans);
        buf_release(&text);
        chat_template_free(t);
    }
}

/* Prompts are prefixes and only answers are trained, whatever the template; where answers cannot be told,
 * a conversation can still be a prompt. */
static void test_forms_encoded(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = small_tokenizer();
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct chat_template *t = form_template(i);
        struct err err;
        struct encoded prompt = encode(t, tokenizer, talk_two, 3, true, 3), whole = {0};
        buf_init(&whole.mask, 1000);
        int rc = chat_encode(t, tokenizer, talk_two, 4, false, 3, &whole.ids, &whole.mask, &err);
        if (forms[i].problem) {
            assert_int_equal(rc, -1);
            assert_non_null(strstr(err.text, forms[i].problem));
        } else {
            if (rc)
                fail_msg("%s: %s", forms[i].what, err.text);
            expect_trained(&whole, tokenizer, forms[i].answers[1]);
            if (!strstr(forms[i].what, "do not keep"))
                expect_prefix(&prompt, &whole);
        }
        encoded_release(&prompt);
        encoded_release(&whole);
        chat_template_free(t);
    }
    tokenizer_free(tokenizer);
}

/* Variables of the template and of one conversation, and what else messages have. */
static void test_variables(void **state)
{
    (void)state;
    struct err err;
    struct buf text;
    size_t thoughts = 0;
    while (!strstr(forms[thoughts].template, "no_thoughts"))
        thoughts++;
    struct chat_template *t = form_template(thoughts);
    chat_template_set(t, "no_thoughts", json_true());
    assert_string_equal(chat_generation_prompt(t), "<assistant><think></think>");
    struct chat_spans spans = {0};
    buf_init(&text, 10000);
    assert_int_equal(chat_render(t, talk_two, 4, false, &spans, &text, &err), 0);
    assert_int_equal(spans.data[spans.n - 1].kind, CHAT_ANSWER);
    assert_string_equal(text.data + spans.data[spans.n - 1].start, "four<end>\n");
    chat_spans_release(&spans);
    chat_template_free(t);

    t = template_of("{{ tools | tojson }}{{ documents is none }}{{ k }}\n" EACH(
        "{{ m.role }}:{{ m.content if m.content is defined else '-' }}{% for c in m.tool_calls or [] %} {{ c.function.name "
        "}}({{ c.function.arguments | tojson }}){% endfor %}{{ m.reasoning_content }}{{ m.thinking }};") "{% if "
                    "add_generation_prompt %}assistant:{% endif %}");
    json_t *call = json_pack("{s:s, s:n, s:[{s:{s:s, s:{s:i}}}], s:n, s:s}", "role", "assistant", "content", "tool_calls",
                             "function", "name", "f", "arguments", "x", 1, "name", "reasoning", "Hm"),
           *row = json_pack("{s:s, s:{s:i}, s:[]}", "tools", "[{\"name\": \"f\"}]", "chat_template_kwargs", "k", 5, "messages"),
           *variables;
    struct message talk_call[] = {{"user", "go"}, {"assistant", "", message_fields(call)}, {"tool", "1"}};
    assert_false(message_needs_content(call));
    if (chat_row_variables(&variables, row, &err))
        fail_msg("%s", err.text);
    buf_clear(&text);
    if (chat_render_with(t, variables, talk_call, 3, true, &spans, &text, &err))
        fail_msg("%s", err.text);
    assert_string_equal(text.data, "[{\"name\": \"f\"}]True5\nuser:go;assistant:- f({\"x\": 1})HmHm;tool:1;assistant:");
    assert_int_equal(spans.n, 6);
    assert_int_equal(spans.data[3].kind, CHAT_ANSWER);
    assert_int_equal(spans.data[3].end - spans.data[3].start, strlen("- f({\"x\": 1})HmHm;"));
    chat_spans_release(&spans);
    expect_text(t, talk_two, 1, false, "nullTrue\nuser:one;");
    json_decref(talk_call[1].fields);
    json_decref(variables);

    json_object_set_new(row, "tools", json_string("{"));
    assert_int_equal(chat_row_variables(&variables, row, &err), -1);
    assert_non_null(strstr(err.text, "\"tools\" must be a list"));
    json_object_set_new(row, "tools", json_null());
    json_object_set_new(row, "chat_template_kwargs", json_string("x"));
    assert_int_equal(chat_row_variables(&variables, row, &err), -1);
    assert_non_null(strstr(err.text, "\"chat_template_kwargs\" must be an object"));
    json_object_clear(row);
    assert_int_equal(chat_row_variables(&variables, row, &err), 0);
    assert_null(variables);
    json_object_clear(call);
    assert_true(message_needs_content(call));
    json_decref(call);
    json_decref(row);
    chat_template_free(t);

    /* What the template refuses is said in its words. */
    t = template_of(EACH("{% if m.role == 'system' %}\n{{ raise_exception('no system message, please') }}{% endif %}"));
    const struct message system = {"system", "x"};
    assert_int_equal(chat_render(t, &system, 1, false, NULL, &text, &err), -1);
    assert_string_equal(err.text, "the chat template: line 2: the template refuses: no system message, please");
    buf_release(&text);
    chat_template_free(t);
}

/* ---- templates of public models, where they are at hand ---- */

/* How answers look there: what the model writes before the content (in all turns, or in the last one
 * only) and after it, and what the generation prompt has that stands before no answer. */
static const struct {
    const char *name, *before, *before_last, *after, *prompt_only;
} public[] = {
    {"llama3", "", "", "<|eot_id|>", ""},
    {"llama3_1", "", "", "<|eot_id|>", ""},
    {"llama3_2", "", "", "<|eot_id|>", ""},
    {"qwen2_5", "", "", "<|im_end|>\n", ""},
    {"qwen3", "", "<think>\n\n</think>\n\n", "<|im_end|>\n", ""},
    {"phi3", "", "", "<|end|>\n", ""},
    {"phi3_5", "", "", "<|end|>\n", ""},
    {"gemma", "", "", "<end_of_turn>\n", ""},
    {"gemma3", "", "", "<end_of_turn>\n", ""},
    {"cohere", "", "", "<|END_OF_TURN_TOKEN|>", ""},
    {"deepseekv3", "", "", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<think>\n"},
    {"deepseek_r1_distill", "", "", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<think>\n"},
    {"glm4moe", "\n<think></think>\n", "\n<think></think>\n", "", ""},
    {"lfm2", "", "", "<|im_end|>\n", ""},
};

static size_t public_index(const char *name)
{
    for (size_t i = 0; i < sizeof public / sizeof *public; i++)
        if (strcmp(public[i].name, name) == 0)
            return i;
    fail_msg("%s is not in the table", name);
    return 0;
}

static struct chat_template *public_template(const char *folder, const char *name)
{
    struct err err;
    struct buf text;
    char *file = xasprintf("%s/%s.jinja", folder, name);
    buf_init(&text, 1 << 20);
    if (file_read(file, &text, &err))
        fail_msg("%s", err.text);
    struct chat_template *t = chat_template_new(text.data, text.len, &err);
    if (!t)
        fail_msg("%s: %s", name, err.text);
    chat_template_set(t, "bos_token", json_string("<s>"));
    chat_template_set(t, "eos_token", json_string("</s>"));
    buf_release(&text);
    free(file);
    return t;
}

static size_t messages_of(struct message *m, const json_t *conversation)
{
    size_t n = json_array_size(conversation);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(conversation, i);
        m[i] = (struct message){(char *)json_string_value(json_object_get(o, "role")),
                                (char *)json_string_value(json_object_get(o, "content"))};
    }
    return n;
}

/* The answers are content and end of turn; what is before the last one is the prompt that asks for it. */
static void expect_answers(const struct chat_template *t, size_t k, const struct message *m, size_t n)
{
    struct buf text, prompt;
    struct chat_spans spans = {0};
    struct err err;
    buf_init(&text, 100000);
    buf_init(&prompt, 100000);
    if (chat_render(t, m, n, false, &spans, &text, &err))
        fail_msg("%s: %s", public[k].name, err.text);
    size_t at = 0, answers = 0, told = 0;
    for (size_t i = 0; i < n; i++)
        answers += strcmp(m[i].role, "assistant") == 0;
    for (size_t i = 0; i < spans.n; i++) {
        const struct chat_span *s = &spans.data[i];
        assert_int_equal(s->start, at);
        at = s->end;
        if (s->kind == CHAT_CONTEXT)
            continue;
        bool last = ++told == answers && s->message + 1 == n;
        assert_string_equal(m[s->message].role, "assistant");
        char *want = xasprintf("%s%s%s", last ? public[k].before_last : public[k].before,
                               m[s->message].content, public[k].after),
             *got = xstrndup(text.data + s->start, s->end - s->start);
        assert_string_equal(got, want);
        if (last) {
            if (chat_render(t, m, s->message, true, NULL, &prompt, &err))
                fail_msg("%s: %s", public[k].name, err.text);
            char *before = xasprintf("%.*s%s", (int)s->start, text.data, public[k].prompt_only);
            assert_string_equal(prompt.data, before);
            free(before);
        }
        free(want);
        free(got);
    }
    assert_int_equal(at, text.len);
    assert_int_equal(told, answers);
    chat_spans_release(&spans);
    buf_release(&text);
    buf_release(&prompt);
}

static void test_public_templates(void **state)
{
    (void)state;
    const char *shared = shared_folder();
    char *folder = shared ? path_join(shared, "golden/chat-templates") : NULL;
    if (!folder || !file_is_dir(folder)) {
        print_message("the shared folder is not there: the templates of public models are skipped\n");
        free(folder);
        skip();
    }
    char *path = path_join(folder, "expected.json");
    setenv("SOURCE_DATE_EPOCH", "1795392000", 1);
    json_t *o = golden_json(path), *row;
    const json_t *conversations = json_object_get(o, "conversations");
    struct chat_template *t = NULL;
    const char *loaded = "";
    size_t i, bad = 0;
    json_array_foreach(json_object_get(o, "cases"), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "template")),
                   *want = json_string_value(json_object_get(row, "text")),
                   *refusal = json_string_value(json_object_get(row, "error"));
        struct message m[8];
        size_t k = public_index(name),
               n = messages_of(m, json_array_get(conversations, (size_t)json_integer_value(json_object_get(
                                                                    row, "conversation"))));
        bool prompt = json_is_true(json_object_get(row, "add_generation_prompt"));
        if (strcmp(name, loaded) != 0) {
            chat_template_free(t);
            t = public_template(folder, name);
            loaded = name;
        }
        struct err err = {""};
        struct buf text;
        buf_init(&text, 100000);
        int rc = chat_render(t, m, n, prompt, NULL, &text, &err);
        bool ok = want ? rc == 0 && strcmp(text.data, want) == 0 : rc != 0 && strstr(err.text, refusal);
        if (!ok) {
            print_message("%s, conversation %zu\n    gives  %s\n    wanted %s\n", name, i, rc ? err.text : text.data,
                          want ? want : refusal);
            bad++;
        }
        buf_release(&text);
        if (want && !prompt)
            expect_answers(t, k, m, n);
    }
    assert_int_equal(i, 8 * sizeof public / sizeof *public);
    assert_int_equal(bad, 0);
    chat_template_free(t);
    unsetenv("SOURCE_DATE_EPOCH");
    json_decref(o);
    free(path);
    free(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_render),  cmocka_unit_test(test_spellings),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_spans),
        cmocka_unit_test(test_encode),  cmocka_unit_test(test_folder),
        cmocka_unit_test(test_smollm2), cmocka_unit_test(test_forms),
        cmocka_unit_test(test_forms_encoded), cmocka_unit_test(test_variables),
        cmocka_unit_test(test_public_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
