#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "data/rows.h"
#include "data/split.h"
#include "support/support.h"
#include "util/buf.h"
#include "util/file.h"
#include "util/mem.h"

/* JSON is easier to read here with ' for ". */
static char *quoted(const char *text)
{
    char *copy = xstrdup(text);
    for (char *c = copy; *c; c++)
        if (*c == '\'')
            *c = '"';
    return copy;
}

/* Parse text that must be good; the name says whether it is CSV. */
static struct dataset parse_as(const char *name, const char *text, const struct rows_config *config)
{
    struct dataset d;
    struct err err = {{0}};
    char *copy = quoted(text);
    if (dataset_parse(&d, name, copy, strlen(copy), config, &err))
        fail_msg("%s: %s", copy, err.text);
    free(copy);
    return d;
}

static struct dataset parse(const char *text)
{
    return parse_as("x.jsonl", text, NULL);
}

static void assert_refused(const char *name, const char *text, const char *part)
{
    struct dataset d;
    struct err err = {{0}};
    char *copy = quoted(text);
    if (dataset_parse(&d, name, copy, strlen(copy), NULL, &err) == 0)
        fail_msg("not refused: %s", copy);
    if (!strstr(err.text, part) || !strstr(err.text, name))
        fail_msg("'%s' and '%s' are not in: %s", part, name, err.text);
    free(copy);
}

/* A part is these messages, given as role, content, .., NULL. */
static void assert_messages(const struct row_part *part, ...)
{
    va_list ap;
    va_start(ap, part);
    size_t n = 0;
    for (const char *role; (role = va_arg(ap, const char *)); n++) {
        const char *content = va_arg(ap, const char *);
        assert_true(n < part->n_messages);
        assert_string_equal(part->messages[n].role, role);
        assert_string_equal(part->messages[n].content, content);
    }
    va_end(ap);
    assert_int_equal(part->n_messages, n);
    assert_null(part->text);
    assert_int_equal(part->n_ids, 0);
}

static void test_plain_forms(void **state)
{
    (void)state;
    struct dataset d = parse("{'text': 'Once'}\n\n{'text': 'upon', 'id': 'u'}\r\n");
    assert_int_equal(d.kind, ROWS_TEXT);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.format_name, "JSON lines of texts (text) as plain text");
    assert_string_equal(d.rows[0].completions[0].text, "Once");
    assert_int_equal(d.rows[1].line, 3);
    assert_string_equal(d.rows[1].id, "u");
    assert_true(d.rows[1].id_given && !d.rows[0].id_given);
    assert_memory_equal(d.rows[0].id, "row-", 4);
    assert_int_equal(strlen(d.rows[0].id), 20);
    dataset_release(&d);

    d = parse("{'prompt': 'Hi'}");
    assert_int_equal(d.kind, ROWS_PROMPT);
    assert_messages(&d.rows[0].prompt, "user", "Hi", NULL);
    assert_int_equal(d.rows[0].n_completions, 0);
    dataset_release(&d);

    d = parse_as("x", "{'prompt': 'Hi', 'completion': ' there'}",
                 &(struct rows_config){.keep_plain = true});
    assert_int_equal(d.kind, ROWS_COMPLETION);
    assert_string_equal(d.rows[0].prompt.text, "Hi");
    assert_string_equal(d.rows[0].completions[0].text, " there");
    dataset_release(&d);

    d = parse("{'prompt': 'Hi', 'completion': 'there', 'label': false, 'weight': 0.25, "
              "'annotator': 7, 'group': 'g'}");
    assert_int_equal(d.kind, ROWS_UNPAIRED);
    assert_messages(&d.rows[0].completions[0], "assistant", "there", NULL);
    assert_false(d.rows[0].good);
    assert_true(d.rows[0].weight == 0.25 && isnan(d.rows[0].score) && d.rows[0].margin == 0);
    assert_string_equal(d.rows[0].annotator, "7");
    assert_string_equal(d.rows[0].group, "g");
    dataset_release(&d);

    d = parse("{'prompt': '2+2?', 'completions': ['2+2', '= 5'], 'labels': [true, false]}");
    assert_int_equal(d.kind, ROWS_STEPWISE);
    assert_int_equal(d.rows[0].n_completions, 2);
    assert_string_equal(d.rows[0].completions[1].text, "= 5");
    assert_true(d.rows[0].step_good[0] && !d.rows[0].step_good[1]);
    dataset_release(&d);

    d = parse("{'prompt': '2+2?', 'completions': ['4', [{'role': 'assistant', 'content': '5'}], 'four'], 'ranks': [1, 7, 1]}");
    assert_int_equal(d.kind, ROWS_RANKING);
    assert_string_equal(d.format_name, "JSON lines of rankings (prompt, completions, ranks) as messages");
    assert_int_equal(d.rows[0].n_completions, 3);
    assert_messages(&d.rows[0].completions[0], "assistant", "4", NULL);
    assert_messages(&d.rows[0].completions[1], "assistant", "5", NULL);
    assert_true(d.rows[0].ranks[0] == 1 && d.rows[0].ranks[1] == 7 && d.rows[0].ranks[2] == 1);
    dataset_release(&d);

    d = parse("{'instruction': 'Translate', 'input': 'cat', 'output': 'chat'}\n"
              "{'instruction': 'Sing', 'input': '', 'output': 'La'}");
    assert_int_equal(d.kind, ROWS_COMPLETION);
    assert_messages(&d.rows[0].prompt, "user", "Translate\n\ncat", NULL);
    assert_messages(&d.rows[1].prompt, "user", "Sing", NULL);
    assert_messages(&d.rows[1].completions[0], "assistant", "La", NULL);
    dataset_release(&d);

    d = parse("{'score': -1.5, 'scores': [-1, -2], 'std': 0.5}\n{'score': -1.5}");
    assert_int_equal(d.kind, ROWS_SCORES);
    assert_true(d.rows[0].score == -1.5);
    assert_int_equal(d.report.warnings, 0);
    dataset_release(&d);
}

static void test_chat_forms(void **state)
{
    (void)state;
    const char *conversation = "{'messages': [{'role': 'user', 'content': 'a'}, "
                               "{'role': 'assistant', 'content': 'b'}]}";
    struct dataset d = parse(conversation);
    assert_int_equal(d.kind, ROWS_CHAT);
    assert_int_equal(d.rows[0].prompt.n_messages, 0);
    assert_messages(&d.rows[0].completions[0], "user", "a", "assistant", "b", NULL);
    dataset_release(&d);

    d = parse_as("x", conversation, &(struct rows_config){.prompts = true, .system = "S"});
    assert_int_equal(d.kind, ROWS_PROMPT);
    assert_messages(&d.rows[0].prompt, "system", "S", "user", "a", NULL);
    dataset_release(&d);

    /* a system message is added where there is none, and the row keeps its id */
    d = parse_as("x",
                 "{'prompt': [{'role': 'system', 'content': 'mine'}, {'role': "
                 "'user', 'content': 'a'}], 'completion': "
                 "[{'role': 'assistant', 'content': 'b'}]}\n{'prompt': 'c', "
                 "'completion': 'd'}",
                 &(struct rows_config){.system = "S", .keep_plain = false});
    assert_messages(&d.rows[0].prompt, "system", "mine", "user", "a", NULL);
    assert_messages(&d.rows[1].prompt, "system", "S", "user", "c", NULL);
    assert_true(d.rows[1].system_added && !d.rows[0].system_added);
    struct dataset without = parse("{'completion': 'd',   'prompt': 'c'}");
    assert_string_equal(d.rows[1].id, without.rows[0].id);
    char with_hash[65], hash[65];
    row_prompt_hash(with_hash, &d.rows[1]);
    row_prompt_hash(hash, &without.rows[0]);
    assert_string_equal(with_hash, hash);
    dataset_release(&without);
    dataset_release(&d);

    /* text beside messages becomes a message, whatever is asked for */
    d = parse_as("x", "{'prompt': [{'role': 'user', 'content': 'a'}], 'completion': 'b'}",
                 &(struct rows_config){.keep_plain = true});
    assert_messages(&d.rows[0].completions[0], "assistant", "b", NULL);
    dataset_release(&d);
}

/* What messages and rows have for the chat template. */
static void test_chat_fields(void **state)
{
    (void)state;
    struct dataset d = parse(
        "{'prompt': [{'role': 'user', 'content': 'a', 'name': 'Ann'}], 'completion': [{'role': 'assistant', 'content': null, "
        "'tool_calls': [{'function': {'name': 'f'}}], 'refusal': null}], 'tools': '[{\\'name\\': \\'f\\'}]', "
        "'chat_template_kwargs': {'x': 1}}\n"
        "{'prompt': [{'role': 'user', 'content': 'a'}], 'completion': 'b', 'tools': null}");
    const struct message *user = d.rows[0].prompt.messages, *answer = d.rows[0].completions[0].messages;
    assert_string_equal(json_string_value(json_object_get(user->fields, "name")), "Ann");
    assert_int_equal(json_object_size(user->fields), 1);
    assert_string_equal(answer->content, "");
    assert_true(json_is_null(json_object_get(answer->fields, "content")));
    assert_int_equal(json_array_size(json_object_get(answer->fields, "tool_calls")), 1);
    assert_int_equal(json_object_size(answer->fields), 2);
    assert_int_equal(json_array_size(json_object_get(d.rows[0].variables, "tools")), 1);
    assert_int_equal(json_integer_value(json_object_get(d.rows[0].variables, "x")), 1);
    assert_null(d.rows[1].prompt.messages[0].fields);
    assert_null(d.rows[1].variables);
    char named[65], plain[65];
    row_prompt_hash(named, &d.rows[0]);
    row_prompt_hash(plain, &d.rows[1]);
    assert_string_not_equal(named, plain);
    struct buf out;
    buf_init(&out, 1000);
    row_part_json(&out, &d.rows[0].prompt);
    assert_string_equal(out.data, "[{\"role\": \"user\", \"content\": \"a\", \"name\": \"Ann\"}]");
    buf_clear(&out);
    row_part_json(&out, &d.rows[0].completions[0]);
    assert_string_equal(out.data, "[{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": "
                                  "\"f\"}}]}]");
    buf_release(&out);
    dataset_release(&d);

    assert_refused("x.jsonl", "{'messages': [{'role': 'user', 'content': null}]}", "message 1 must be text, found null");
    assert_refused("x.jsonl", "{'messages': [{'role': 'assistant', 'content': null, 'tool_calls': []}]}", "must be text");
    assert_refused("x.jsonl", "{'messages': [{'role': 'assistant', 'content': 5, 'tool_calls': [{}]}]}", "must be text");
    assert_refused("x.jsonl", "{'prompt': 'a', 'completion': 'b', 'tools': 'f'}",
                   "the field \"tools\" must be a list of objects");
    assert_refused("x.jsonl", "{'prompt': 'a', 'completion': 'b', 'chat_template_kwargs': []}", "must be an object");
}

static void test_pairs(void **state)
{
    (void)state;
    struct dataset d =
        parse("{'prompt': 'p', 'chosen': 'c', 'rejected': 'r', 'margin': 2, 'score': 1}");
    assert_int_equal(d.kind, ROWS_PAIR);
    assert_messages(&d.rows[0].prompt, "user", "p", NULL);
    assert_messages(&d.rows[0].completions[0], "assistant", "c", NULL);
    assert_messages(&d.rows[0].completions[1], "assistant", "r", NULL);
    assert_int_equal(d.rows[0].label, ROW_A);
    assert_true(d.rows[0].p_a == 1 && d.rows[0].margin == 2 && d.rows[0].score == 1);
    dataset_release(&d);

    /* the implicit prompt of conversations ends before an answer */
    d = parse("{'chosen': [{'role': 'user', 'content': 'a'},"
              " {'role': 'assistant', 'content': 'b'}, {'role': 'user', 'content': 'c'},"
              " {'role': 'assistant', 'content': 'd'}],"
              " 'rejected': [{'role': 'user', 'content': 'a'},"
              " {'role': 'assistant', 'content': 'b'}, {'role': 'user', 'content': 'x'},"
              " {'role': 'assistant', 'content': 'y'}]}\n"
              "{'chosen': [{'role': 'user', 'content': 'a'},"
              " {'role': 'assistant', 'content': 'b'}],"
              " 'rejected': [{'role': 'user', 'content': 'z'},"
              " {'role': 'assistant', 'content': 'b'}]}\n"
              "{'chosen': [{'role': 'user', 'content': 'a'},"
              " {'role': 'assistant', 'content': 'b'}],"
              " 'rejected': [{'role': 'user', 'content': 'a'},"
              " {'role': 'assistant', 'content': 'b'}]}");
    assert_string_equal(d.format_name,
                        "JSON lines of preference pairs with an implicit prompt (chosen, "
                        "rejected) as messages");
    assert_messages(&d.rows[0].prompt, "user", "a", NULL);
    assert_messages(&d.rows[0].completions[0], "assistant", "b", "user", "c", "assistant", "d",
                    NULL);
    assert_messages(&d.rows[0].completions[1], "assistant", "b", "user", "x", "assistant", "y",
                    NULL);
    assert_int_equal(d.rows[1].prompt.n_messages, 0);
    assert_int_equal(d.report.no_common_prompt, 1);
    assert_messages(&d.rows[2].prompt, "user", "a", NULL);
    assert_messages(&d.rows[2].completions[1], "assistant", "b", NULL);
    assert_int_equal(d.report.equal_pairs, 1);
    assert_int_equal(d.report.warnings, 2);
    assert_string_equal(d.report.texts[1], "line 3: both answers are the same");
    dataset_release(&d);

    /* a prompt beside whole conversations, as UltraFeedback has it */
    d = parse("{'prompt': 'a', 'chosen': [{'role': 'user', 'content': 'a'},"
              " {'role': 'assistant', 'content': 'b'}],"
              " 'rejected': [{'role': 'user', 'content': 'a'},"
              " {'role': 'assistant', 'content': 'c'}]}");
    assert_messages(&d.rows[0].prompt, "user", "a", NULL);
    assert_messages(&d.rows[0].completions[1], "assistant", "c", NULL);
    dataset_release(&d);

    /* plain texts part at a word's border */
    d = parse("{'chosen': 'The sky is bluer', 'rejected': 'The sky is black'}\n"
              "{'chosen': 'Yes', 'rejected': 'Yes and no'}\n{'chosen': 'a b ', "
              "'rejected': 'a b  '}\n"
              "{'chosen': '\xc3\xa4', 'rejected': '\xc3\xb6'}");
    assert_string_equal(d.rows[0].prompt.text, "The sky is");
    assert_string_equal(d.rows[0].completions[0].text, " bluer");
    assert_string_equal(d.rows[1].prompt.text, "");
    assert_string_equal(d.rows[1].completions[0].text, "Yes");
    assert_string_equal(d.rows[2].prompt.text, "a");
    assert_string_equal(d.rows[2].completions[0].text, " b ");
    assert_string_equal(d.rows[3].completions[0].text, "\xc3\xa4");
    dataset_release(&d);
}

static void test_transcripts(void **state)
{
    (void)state;
#define BOTH_BEGIN "\\n\\nHuman: Hi \\n\\nAssistant: Well.\\n\\nSo\\n\\nHuman: More\\n\\nAssistant:"
    struct dataset d = parse("{'chosen': '" BOTH_BEGIN " Yes', 'rejected': '" BOTH_BEGIN " No'}");
    assert_int_equal(d.kind, ROWS_PAIR);
    assert_string_equal(d.format_name,
                        "JSON lines of hh-rlhf transcripts (chosen, rejected) as messages");
    assert_messages(&d.rows[0].prompt, "user", "Hi", "assistant", "Well.\n\nSo", "user", "More",
                    NULL);
    assert_messages(&d.rows[0].completions[0], "assistant", "Yes", NULL);
    assert_messages(&d.rows[0].completions[1], "assistant", "No", NULL);
    dataset_release(&d);
    assert_refused("h.jsonl",
                   "{'chosen': '\\n\\nHuman: a\\n\\nAssistant: b', 'rejected': "
                   "\"\\n\\nHuman: a\\n\\nAssistant: \"}",
                   "line 1: the answer in \"rejected\" is empty");
    assert_refused("h.jsonl",
                   "{'chosen': '\\n\\nHuman: a\\n\\nAssistant: b', 'rejected': '\\n\\nHuman: a'}",
                   "it must end with the assistant's answer");
    assert_refused("h.jsonl", "{'chosen': '\\n\\nHuman: a\\n\\nAssistant: b', 'rejected': 'b'}",
                   "must begin with \"\\n\\nHuman:\"");
}

static void test_judgements(void **state)
{
    (void)state;
    struct dataset d =
        parse("{'prompt': 'p', 'a': 'x', 'b': 'y', 'label': 'b'}\n"
              "{'prompt': 'p', 'a': 'x', 'b': 'z', 'label': 'tie', 'strength': 3}\n"
              "{'prompt': [{'role': 'user', 'content': 'p'}], 'a': [{'role': 'assistant', "
              "'content': 'x'}], 'b': 'v', 'p_a': 0.75}\n"
              "{'prompt': 'p', 'a': 'x', 'b': 'w', 'label': 'a', 'p_a': 0.9, "
              "'id': 12}");
    assert_int_equal(d.kind, ROWS_PAIR);
    assert_int_equal(d.rows[0].label, ROW_B);
    assert_true(d.rows[0].p_a == 0);
    assert_int_equal(d.rows[1].label, ROW_TIE);
    assert_true(d.rows[1].p_a == 0.5 && d.rows[1].strength == 3);
    assert_int_equal(d.rows[2].label, ROW_A);
    assert_true(d.rows[2].p_a == 0.75);
    assert_messages(&d.rows[2].completions[1], "assistant", "v", NULL);
    assert_true(d.rows[3].p_a == 0.9);
    assert_string_equal(d.rows[3].id, "12");
    assert_int_equal(row_rng_key(&d.rows[0]), 1);
    assert_int_not_equal(row_rng_key(&d.rows[3]), 4);
    dataset_release(&d);
}

static void test_ids(void **state)
{
    (void)state;
    const char *text = "{'input_ids': [5, 6, 7], 'prompt_length': 2}\n{'input_ids': [5, 6]}\n"
                       "{'input_ids': [1], 'prompt_length': 1}";
    struct dataset d = parse(text);
    assert_int_equal(d.kind, ROWS_IDS);
    assert_int_equal(d.rows[0].prompt.n_ids, 2);
    assert_int_equal(d.rows[0].completions[0].n_ids, 1);
    assert_int_equal(d.rows[0].completions[0].ids[0], 7);
    assert_int_equal(d.rows[1].prompt.n_ids, 0);
    assert_int_equal(d.rows[1].completions[0].n_ids, 2);
    assert_int_equal(d.rows[2].n_completions, 0);
    dataset_release(&d);

    d = parse_as("x", text, &(struct rows_config){.prompts = true});
    assert_int_equal(d.rows[0].prompt.n_ids, 3);
    assert_int_equal(d.rows[0].n_completions, 0);
    dataset_release(&d);

    d = parse("{'prompt_ids': [1, 2], 'completions': [[3], [4, 5]]}");
    assert_int_equal(d.rows[0].n_completions, 2);
    assert_int_equal(d.rows[0].completions[1].ids[1], 5);
    dataset_release(&d);
}

static void test_files(void **state)
{
    (void)state;
    struct dataset d =
        parse_as("x.json", " [\n {'prompt': 'a ] \\\" }'},\n {'prompt': 'b'}\n]\n", NULL);
    assert_string_equal(d.format_name, "JSON array of prompts (prompt) as messages");
    assert_int_equal(d.n, 2);
    assert_int_equal(d.rows[1].line, 3);
    assert_string_equal(d.rows[0].prompt.messages[0].content, "a ] \" }");
    dataset_release(&d);

    d = parse_as("x.csv",
                 "\xef\xbb\xbfprompt,completion,label,weight,id\r\n"
                 "\"say \"\"hi\"\",\nplease\",hi,True,2,\r\nplain \"quotes\",x,0,,7\r\n\r\n",
                 NULL);
    assert_int_equal(d.kind, ROWS_UNPAIRED);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.rows[0].prompt.messages[0].content, "say \"hi\",\nplease");
    assert_true(d.rows[0].good && d.rows[0].weight == 2 && !d.rows[0].id_given);
    assert_int_equal(d.rows[1].line, 4);
    assert_string_equal(d.rows[1].prompt.messages[0].content, "plain \"quotes\"");
    assert_true(!d.rows[1].good && d.rows[1].weight == 1);
    assert_string_equal(d.rows[1].id, "7");
    dataset_release(&d);

    d = parse_as("x.csv",
                 "messages\n\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"a\"\"}]\"", NULL);
    assert_messages(&d.rows[0].completions[0], "user", "a", NULL);
    dataset_release(&d);

    /* gzipped, whole and cut off */
    char path[] = "/tmp/hone-rows-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    gzFile f = gzdopen(fd, "wb");
    for (int i = 0; i < 500; i++)
        gzprintf(f, "{\"prompt\": \"number %d\", \"x\": %d}\n", i, i * i * 7919);
    gzclose(f);
    struct err err;
    assert_int_equal(dataset_read(&d, path, NULL, &err), 0);
    assert_int_equal(d.n, 500);
    assert_string_equal(d.format_name, "gzipped JSON lines of prompts (prompt) as messages");
    dataset_release(&d);
    assert_int_equal(truncate(path, 900), 0);
    assert_int_equal(dataset_read(&d, path, NULL, &err), -1);
    assert_non_null(strstr(err.text, "is cut off"));
    assert_int_equal(dataset_read(&d, path, &(struct rows_config){.max_file = 100}, &err), -1);
    assert_non_null(strstr(err.text, "larger than"));
    unlink(path);
    assert_int_equal(dataset_read(&d, path, NULL, &err), -1);
    assert_non_null(strstr(err.text, "cannot open"));
    assert_int_equal(dataset_read(&d, "/", NULL, &err), -1);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"", "is empty"},
        {" \n\n", "is empty"},
        {"[]", "has no rows"},
        {"{'prompt': 'a'}\n{'prompt': 'b", "line 2: the row breaks off"},
        {"{\n 'prompt': 'a'\n}", "line 1: the row breaks off"},
        {"{'prompt': 'a'}\n{'prompt': }", "line 2: not JSON"},
        {"{'prompt': 'a'}\n3", "line 2: expected an object like {\"prompt\": ..}, found a number"},
        {"{'prompt': 'a', 'prompt': 'b'}", "line 1: not JSON: duplicate object key"},
        {"{'prompt': 'a\\u0000b'}", "line 1: not JSON"},
        {"{'prompt': '\xff'}", "line 1: not JSON"},
        {"[{'prompt': 'a'},\n {'prompt': 'b'", "line 2: the array breaks off"},
        {"[{'prompt': 'a'}\n {'prompt': 'b'}]", "line 2: expected ',' or ']'"},
        {"[{'prompt': 'a'},]", "line 1: expected an object"},
        {"[{'prompt': 'a'}] x", "something follows"},
        {"[\n\n{'prompt': 'a'},\n{'prompt':\n 1.}]", "line 5: not JSON"},
        {"PAR1....", "Parquet"},
        {"\xff\xfe{", "UTF-16"},
        {"Once upon a time\n", "neither JSON"},
        {"{'question': 1}", "not of a known format (found: question)"},
        {"{}", "not of a known format (found: none)"},
        {"{'prompt': 'a', 'chosen': 'b'}",
         "line 1: the field \"rejected\" is missing, which preference pairs"},
        {"{'prompt': 'a', 'rejected': 'b'}", "line 1: the field \"chosen\" is missing"},
        {"{'prompt': 'a', 'completion': 'b'}\n{'completion': 'c'}",
         "line 2: the field \"prompt\" is missing"},
        {"{'prompt': null, 'completion': 'b'}", "the field \"prompt\" is missing"},
        {"{'prompt': 3, 'completion': 'b'}",
         "the field \"prompt\" must be text or a list of messages, found a number"},
        {"{'prompt': '', 'completion': 'b'}", "the field \"prompt\" is empty"},
        {"{'prompt': 'a', 'completion': ' \\n'}", "the answer in \"completion\" is empty"},
        {"{'prompt': 'a', 'completion': []}", "the field \"completion\" is an empty list"},
        {"{'prompt': 'a', 'completion': [{'role': 'user', 'content': 'b'}]}",
         "ends with a message of the user"},
        {"{'messages': 'a'}", "must be a list of messages, found \"a\""},
        {"{'messages': ['a']}", "message 1 must be {\"role\""},
        {"{'messages': [{'role': 'robot', 'content': 'a'}]}", "found robot"},
        {"{'messages': [{'content': 'a'}]}", "found none"},
        {"{'messages': [{'role': 'user', 'content': null}]}",
         "the \"content\" of message 1 must be text, found null"},
        {"{'text': [1]}", "the field \"text\" must be text, found a list"},
        {"{'text': ''}", "the field \"text\" is empty"},
        {"{'score': 'high'}", "the field \"score\" must be a number, found \"high\""},
        {"{'score': true}", "the field \"score\" must be a number, found true or false"},
        {"{'score': NaN}", "if a number is not finite, remove the row"},
        {"{'score': 1e999}", "line 1: not JSON"},
        {"{'text': 'a', 'weight': -1}", "the field \"weight\" is -1, but must be at least 0"},
        {"{'text': 'a', 'id': 1.5}", "the field \"id\" must be text or a whole number"},
        {"{'text': 'a', 'id': ''}", "the field \"id\" is empty"},
        {"{'prompt': 'p', 'a': 'x', 'b': 'y'}", "neither \"label\" nor \"p_a\""},
        {"{'prompt': 'p', 'a': 'x', 'b': 'y', 'label': 'c'}",
         "must be \"a\", \"b\" or \"tie\", found \"c\""},
        {"{'prompt': 'p', 'a': 'x', 'b': 'y', 'p_a': 1.1}", "is 1.1, but must be between 0 and 1"},
        {"{'prompt': 'p', 'completion': 'y', 'label': 'good'}",
         "the field \"label\" must be true or false"},
        {"{'prompt': 'p', 'completions': ['a'], 'labels': []}", "1 steps but \"labels\" has 0"},
        {"{'prompt': 'p', 'completions': [1], 'labels': [true]}", "a list of texts"},
        {"{'input_ids': []}", "the list in \"input_ids\" is empty"},
        {"{'input_ids': [-1]}", "entry 1 is no token id"},
        {"{'input_ids': [1, 2.0]}", "entry 2 is no token id"},
        {"{'input_ids': [1, 2147483648]}", "entry 2 is no token id"},
        {"{'input_ids': [1], 'prompt_length': 2}", "must be between 0 and 1"},
        {"{'input_ids': [1], 'prompt_length': 0.5}", "must be a whole number"},
        {"{'prompt_ids': [1], 'completions': [[]]}", "the list in \"completions\" is empty"},
        {"{'prompt_ids': [1], 'completions': [3]}", "must be a list of token ids"},
        {"{'instruction': [{'role': 'user', 'content': 'b'}], 'output': 'x'}",
         "the field \"instruction\" must be text"},
        {"{'instruction': 'a', 'input': 3, 'output': 'x'}",
         "the field \"input\" must be text, found a number"},
        {"{'chosen': 'a', 'rejected': [{'role': 'assistant', 'content': 'b'}]}", "add the prompt"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused("f.jsonl", cases[i].text, cases[i].part);

    static const struct {
        const char *text, *part;
    } csv[] = {
        {"prompt,completion\n", "has no rows"},
        {"prompt,completion\na\n", "line 2: 1 fields, but the header has 2"},
        {"prompt,completion\na,b,c\n", "line 2: 3 fields"},
        {"prompt,completion\n\"a,b\n", "line 2: a quoted field begins here and never ends"},
        {"prompt,completion\n\"a\"b,c\n", "line 2: text after a closing quote"},
        {"prompt,prompt\na,b\n", "the column 'prompt' stands there twice"},
        {"prompt;completion\na;b\n", "the header has no comma"},
        {"prompt,completion\na,\xe4\n", "line 2: byte 0xe4 is not UTF-8"},
        {"prompt,completion\na,\n", "line 2: the field \"completion\" is missing"},
        {"text,score\na,nan\n", "must be a finite number"},
        {"text,score\na,1x\n", "must be a finite number"},
        {"prompt,completion,label\na,b,perhaps\n", "must be true or false, found \"perhaps\""},
    };
    for (size_t i = 0; i < sizeof csv / sizeof csv[0]; i++)
        assert_refused("f.csv", csv[i].text, csv[i].part);
}

static void test_report(void **state)
{
    (void)state;
    const char *text = "{'prompt': 'a', 'completion': 'b', 'id': "
                       "'x'}\n{'completion': 'b', 'prompt': 'a', 'id': 'y'}\n"
                       "{'prompt': 'c', 'completion': 'd', 'id': 'x'}\n{'prompt': "
                       "'e', 'completion': ''}\n";
    struct dataset d = parse_as("x", text, &(struct rows_config){.skip_bad = true});
    assert_int_equal(d.n, 3);
    assert_int_equal(d.report.rows, 3);
    assert_int_equal(d.report.duplicates, 1);
    assert_int_equal(d.report.duplicate_ids, 1);
    assert_int_equal(d.report.skipped, 1);
    assert_int_equal(d.report.warnings, 3);
    assert_string_equal(d.report.texts[0], "line 2: an earlier row is the same");
    assert_string_equal(d.report.texts[1], "line 3: an earlier row has the id 'x' too");
    assert_non_null(strstr(d.report.texts[2], "line 4"));
    dataset_release(&d);

    struct err err;
    text = "{\"prompt\": \"e\", \"completion\": \"\"}\n";
    assert_int_equal(
        dataset_parse(&d, "x", text, strlen(text), &(struct rows_config){.skip_bad = true}, &err),
        -1);
    assert_non_null(strstr(err.text, "no row of 'x' can be used"));
    text = "{\"prompt\": \"a rather long line\"}\n";
    assert_int_equal(
        dataset_parse(&d, "x", text, strlen(text), &(struct rows_config){.max_line = 10}, &err),
        -1);
    assert_non_null(strstr(err.text, "line 1: the row is longer than the 10 bytes"));
    assert_int_equal(
        dataset_parse(&d, "x", text, strlen(text), &(struct rows_config){.max_line = 10}, NULL),
        -1);

    /* many rows: every duplicate is found, few texts are kept */
    struct buf many;
    buf_init(&many, 1 << 20);
    for (int i = 0; i < 3000; i++)
        buf_printf(&many, "{'prompt': '%d'}\n", i % 1000);
    d = parse(many.data);
    assert_int_equal(d.report.duplicates, 2000);
    assert_int_equal(d.report.n_texts, DATA_WARNINGS);
    dataset_release(&d);
    buf_release(&many);
}

static void test_split(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int i = 0; i < 4000; i++)
        buf_printf(&text, "{'prompt': 'question %d', 'completion': '%d'}\n", i / 2, i);
    struct dataset d = parse(text.data),
                   with = parse_as("x", text.data, &(struct rows_config){.system = "S"});
    struct split s, again, other;
    struct err err;
    assert_int_equal(split_rows(&s, &d, 0.1, 1, &err), 0);
    assert_int_equal(s.n_train + s.n_held_out, 4000);
    assert_in_range(s.n_held_out, 320, 480);
    /* both rows of a prompt are on one side */
    for (size_t i = 0; i < s.n_held_out; i += 2) {
        assert_int_equal(s.held_out[i] % 2, 0);
        assert_int_equal(s.held_out[i + 1], s.held_out[i] + 1);
    }
    /* a system message moves no row; another seed does */
    assert_int_equal(split_rows(&again, &with, 0.1, 1, &err), 0);
    assert_int_equal(again.n_held_out, s.n_held_out);
    assert_memory_equal(again.held_out, s.held_out, s.n_held_out * sizeof *s.held_out);
    assert_int_equal(split_rows(&other, &d, 0.1, 2, &err), 0);
    assert_true(other.n_held_out != s.n_held_out ||
                memcmp(other.held_out, s.held_out, s.n_held_out * sizeof *s.held_out) != 0);
    split_release(&other);
    split_release(&again);
    /* a larger fraction keeps what was held out */
    assert_int_equal(split_rows(&other, &d, 0.2, 1, &err), 0);
    for (size_t i = 0, j = 0; i < s.n_held_out; i++) {
        while (other.held_out[j] < s.held_out[i])
            j++;
        assert_int_equal(other.held_out[j], s.held_out[i]);
    }
    split_release(&other);
    split_release(&s);

    /* cuts of one conversation stay together */
    buf_clear(&text);
    for (int i = 0; i < 400; i++) {
        buf_printf(&text, "{'messages': [{'role': 'user', 'content': 'q %d'}, {'role': 'assistant', 'content': 'a'}", i / 2);
        buf_str(&text, i % 2 ? ", {'role': 'user', 'content': 'more'}, {'role': 'assistant', 'content': 'b'}]}\n" : "]}\n");
    }
    struct dataset cuts = parse(text.data);
    assert_int_equal(split_rows(&other, &cuts, 0.3, 1, &err), 0);
    assert_in_range(other.n_held_out, 60, 180);
    for (size_t i = 0; i < other.n_held_out; i += 2) {
        assert_int_equal(other.held_out[i] % 2, 0);
        assert_int_equal(other.held_out[i + 1], other.held_out[i] + 1);
    }
    split_release(&other);
    dataset_release(&cuts);

    assert_int_equal(split_rows(&s, &d, 0, 1, &err), 0);
    assert_int_equal(s.n_held_out, 0);
    split_release(&s);
    assert_int_equal(split_rows(&s, &d, 1, 1, &err), -1);
    assert_int_equal(split_rows(&s, &d, NAN, 1, &err), -1);
    assert_int_equal(split_rows(&s, &d, 1.5, 1, &err), -1);
    dataset_release(&d);
    dataset_release(&with);
    buf_release(&text);
}

/* Nothing crashes, whatever is cut off or changed. */
static void test_hostile(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{'prompt': [{'role': 'user', 'content': 'a\\n'}], 'chosen': '\\u00e4b', "
        "'rejected': [{'role': 'assistant', 'content': 'c'}], 'id': 3}\n",
        "[{'input_ids': [1, 2, 3], 'prompt_length': 2}, {'input_ids': [1]}]",
        "prompt,a,b,p_a\n\"x \"\"y\"\"\",b,\"c\nd\",0.5\r\n",
        "{'chosen': '\\n\\nHuman: a\\n\\nAssistant: b', 'rejected': '\\n\\nHuman: "
        "a\\n\\nAssistant: c\"}",
    };
    static const char bytes[] = "\0\"\\[]{},:\n\r\xff\xc3"
                                "0 ";
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
        char *text = quoted(texts[t]);
        size_t n = strlen(text);
        for (size_t i = 0; i <= n; i++) {
            for (size_t j = 0; j < sizeof bytes; j++) {
                /* exactly as large as the text, so that a sanitizer sees a read past it */
                size_t length = j == 0 ? i : n;
                char *copy = xmalloc(length);
                memcpy(copy, text, length);
                if (j && i < n)
                    copy[i] = bytes[j - 1];
                struct dataset d;
                struct err err;
                if (dataset_parse(&d, "x", copy, length,
                                  &(struct rows_config){.skip_bad = j % 2, .system = "s"},
                                  &err) == 0)
                    dataset_release(&d);
                free(copy);
            }
        }
        free(text);
    }
}

static void test_shared_data(void **state)
{
    (void)state;
    if (!shared_folder()) {
        puts("skipped: there is no folder of shared data");
        skip();
    }
    char *path = path_join(shared_folder(), "data/hh-rlhf/harmless-base/test.jsonl.gz");
    struct dataset d;
    struct err err;
    assert_int_equal(dataset_read(&d, path, NULL, &err), -1);
    assert_non_null(strstr(err.text, "line 75: the answer in \"chosen\" is empty"));
    assert_int_equal(dataset_read(&d, path, &(struct rows_config){.skip_bad = true}, &err), 0);
    assert_int_equal(d.n, 1973);
    assert_int_equal(d.report.skipped, 4);
    for (size_t i = 0; i < d.n; i++) {
        const struct row *row = &d.rows[i];
        assert_int_equal(row->n_completions, 2);
        assert_string_equal(row->completions[0].messages[0].role,
                            row->prompt.n_messages ? "assistant" : "user");
        if (row->prompt.n_messages)
            assert_string_equal(row->prompt.messages[row->prompt.n_messages - 1].role, "user");
    }
    dataset_release(&d);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_forms), cmocka_unit_test(test_chat_forms), cmocka_unit_test(test_chat_fields),
        cmocka_unit_test(test_pairs),       cmocka_unit_test(test_transcripts),
        cmocka_unit_test(test_judgements),  cmocka_unit_test(test_ids),
        cmocka_unit_test(test_files),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_report),      cmocka_unit_test(test_split),
        cmocka_unit_test(test_hostile),     cmocka_unit_test(test_shared_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
