/* Unit tests as a reward: what code is found in an answer, what it scores, and what it cannot do to the machine.  Where bubblewrap is
 * not there or not let, those tests are skipped, which is said; that nothing is run then is tested everywhere. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "reward/rule.h"
#include "support/program.h"
#include "util/mem.h"

static bool has_sandbox(void)
{
    static int there = -1;
    struct err err;
    if (there < 0 && !(there = sandbox_check(&err) == 0))
        printf("skipped: %s\n", err.text);
    if (there && access("/usr/bin/python3", X_OK)) {
        printf("skipped: there is no /usr/bin/python3\n");
        there = 0;
    }
    return there;
}

#define NEEDS_SANDBOX()                                                                            \
    do {                                                                                           \
        if (!has_sandbox())                                                                        \
            skip();                                                                                \
    } while (0)

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Scores of answers to rows whose fields are JSON, by "tests" with these options. */
static void score_all(double *scores, const char *spec, const char *const *fields, const char *const *texts, size_t n)
{
    struct rule rule;
    struct err err;
    struct row *rows = xcalloc(n, sizeof *rows);
    struct answer_text *answers = xcalloc(n, sizeof *answers);
    struct dataset data = {.path = (char[]){"rows"}, .rows = rows, .n = n};
    for (size_t i = 0; i < n; i++) {
        rows[i] = (struct row){.line = i + 1, .fields = json_loads(fields[i], 0, NULL)};
        assert_non_null(rows[i].fields);
        answers[i] = (struct answer_text){.row = &rows[i], .text = (char *)(uintptr_t)texts[i], .n = strlen(texts[i])};
    }
    if (rule_parse(&rule, spec, &err) || rule_check(&rule, &data, &err) || rule_score(scores, &rule, answers, n, &err))
        fail_msg("%s: %s", spec, err.text);
    rule_release(&rule);
    for (size_t i = 0; i < n; i++)
        json_decref(rows[i].fields);
    free(rows);
    free(answers);
}

static double score(const char *spec, const char *fields, const char *text)
{
    double s;
    score_all(&s, spec, &fields, &text, 1);
    return s;
}

/* One test in Python, as a row. */
static double holds(const char *spec, const char *test, const char *text)
{
    json_t *row = json_pack("{s:s}", "tests", test);
    char *fields = json_dumps(row, 0);
    double s = score(spec, fields, text);
    free(fields);
    json_decref(row);
    return s;
}

/* ---- what is run ---- */

static void test_code(void **state)
{
    static const char *const cases[][2] = {
        {"x = 1\n", "x = 1\n"},
        {"So:\n```python\nx = 1\n```\nDone.", "x = 1\n"},
        {"```\na\n```\nor better\n```py\nb\nc\n```", "b\nc\n"},
        {"Look:\n```python\nx = 1\ny", "x = 1\ny"}, /* cut by length */
        {"  ```\nx\n  ```", "x\n"},
        {"a\n```", ""},
        {"``x``", "``x``"},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n;
        const char *code = unit_tests_code(cases[i][0], strlen(cases[i][0]), &n);
        if (n != strlen(cases[i][1]) || memcmp(code, cases[i][1], n))
            fail_msg("of '%s' the code is '%.*s'", cases[i][0], (int)n, code);
    }
}

#define ADD "def add(a, b):\n    return a + b\n"
#define THREE "{\"tests\": \"assert add(1, 2) == 3\\nn = 4\\nassert add(n, -4) == 0\\nassert add(1, 1) == 3\"}"

static void test_scores(void **state)
{
    static const char *const three = THREE, *const list = "{\"tests\": [\"assert add(1, 2) == 3\", \"assert add(1, 1) == 3\\nassert 1\"]}";
    static const char *const human = "{\"prompt\": \"def add(a, b):\\n    \\\"\\\"\\\"a + b\\\"\\\"\\\"\\n\", \"entry_point\": \"add\", "
                                     "\"test\": \"def check(candidate):\\n    assert candidate(2, 3) == 5\\n    assert candidate(0, 0) == 0\\n\"}";
    (void)state;
    NEEDS_SANDBOX();
    expect_near(score("tests", three, "```python\n" ADD "```"), 2. / 3, 1e-15, "asserts of a text", 0);
    expect_near(score("tests:score=all", three, ADD), 0, 0, "not all", 0);
    expect_near(score("tests", list, ADD), 0.5, 0, "a list", 0);
    expect_near(score("tests:field=t", "{\"t\": [\"assert add(1, 2) == 3\"]}", ADD), 1, 0, "another field", 0);
    expect_near(score("tests", three, "def add(a, b):\n    return a * b + 1\n"), 1. / 3, 1e-15, "wrong code", 0);
    expect_near(score("tests", three, "def add(a, b)\n    return a + b\n"), 0, 0, "not Python", 0);
    expect_near(score("tests", three, ""), 0, 0, "nothing", 0);
    expect_near(score("tests", three, "\xff\xfe" ADD), 0, 0, "not UTF-8", 0);
    /* HumanEval: the whole function, and what goes on from the prompt */
    expect_near(score("tests", human, ADD), 1, 0, "a function", 0);
    expect_near(score("tests", human, "    return a + b\n"), 1, 0, "its body", 0);
    expect_near(score("tests", human, "    return a * b\n"), 0, 0, "a wrong body", 0);
    expect_near(score("tests", human, "def address(a, b):\n    return a + b\n"), 0, 0, "another function", 0);
    /* what stands below is not run, nor what waits to be asked */
    expect_near(holds("tests", "assert add(1, 1) == 2", ADD "if __name__ == '__main__':\n    raise SystemExit\n"), 1, 0, "main", 0);
    expect_near(holds("tests", "assert add(1, 1) == 2", "import dataclasses\n@dataclasses.dataclass\nclass C:\n    x: 'int' = 1\n" ADD), 1, 0,
                "dataclasses", 0);
    expect_near(holds("tests", "x = add(2, 2)", ADD), 1, 0, "no assert", 0);
    expect_near(holds("tests", "x = add(2)", ADD), 0, 0, "no assert, wrong", 0);
}

/* Short cuts that give nothing. */
static void test_cheats(void **state)
{
    static const char *const codes[] = {
        "import sys\nsys.exit(0)\n",
        "import os\nos._exit(0)\n",
        "raise KeyboardInterrupt\n",
        "for i in range(99):\n    print('of 1')\n    print('+ 1')\n",
        "import os\nfor fd in range(1, 9):\n    try:\n        os.write(fd, b'of 1\\n+ 1\\n0 + 1\\n')\n    except OSError:\n        pass\n",
        "def add(a, b):\n    import os\n    os._exit(0)\n",
        "import os\ndef add(a, b):\n    return 3\nos.fork()\n", /* two that hold one test are not two tests */
    };
    static const double wanted[] = {0, 0, 0, 0, 0, 0, 1. / 3};
    (void)state;
    NEEDS_SANDBOX();
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        expect_near(holds("tests", "assert add(1, 2) == 3\nassert add(0, 0) == 0\nassert add(4, 4) == 8", codes[i]), wanted[i], 1e-15, "cheat", i);
}

/* As many as there are, however many at a time. */
static void test_batches(void **state)
{
    enum { N = 9 };
    const char *fields[N], *texts[N];
    double one[N], many[N];
    (void)state;
    NEEDS_SANDBOX();
    for (size_t i = 0; i < N; i++) {
        fields[i] = THREE;
        texts[i] = i % 3 == 0 ? ADD : i % 3 == 1 ? "def add(a, b):\n    return 3\n" : "add = min\n";
    }
    score_all(one, "tests:jobs=1", fields, texts, N);
    score_all(many, "tests:jobs=8", fields, texts, N);
    for (size_t i = 0; i < N; i++) {
        expect_near(one[i], (i % 3 == 2 ? 0 : 2) / 3., 1e-15, "one at a time", i);
        expect_near(many[i], one[i], 0, "eight at a time", i);
    }
}

static void test_other_languages(void **state)
{
    static const char *const row = "{\"tests\": [\"[ $(add 1 2) = 3 ]\", \"[ $(add 1 1) = 3 ]\", \"add 2 2 | grep -q 4\", \"exit 3\"]}";
    static const char *const code = "```sh\nadd() { echo $(($1 + $2)); }\n```";
    (void)state;
    NEEDS_SANDBOX();
    expect_near(score("tests:jobs=3,command=sh -e", row, code), 0.5, 0, "sh", 0);
    expect_near(score("tests:score=all,command=sh -e", row, code), 0, 0, "sh, all", 0);
    expect_near(score("tests:command=sh -e", "{\"tests\": \"add 1 1\"}", code), 1, 0, "sh, a text", 0);
    expect_near(score("tests:command=sh -e", "{\"tests\": \"add 1 1\"}", "yes"), 0, 0, "sh, no end of output", 0);
}

/* ---- what it cannot do ---- */

static void test_time(void **state)
{
    static const char *const loops[] = {"while True: pass\n", "import time\ntime.sleep(1000)\n", "import os\nos.kill(os.getpid(), 19)\n"};
    (void)state;
    NEEDS_SANDBOX();
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        double start = seconds();
        expect_near(holds("tests:timeout=1", "assert True", loops[i]), 0, 0, "loop", i);
        assert_true(seconds() - start < 20);
    }
    /* what held before counts */
    expect_near(score("tests:timeout=1", "{\"tests\": [\"assert f(1)\", \"f(0)\", \"assert f(1)\"]}",
                      "def f(x):\n    while not x: pass\n    return 1\n"), 1. / 3, 1e-15, "a loop in the second test", 0);
}

/* Is there a process with this in its command line? */
static bool is_running(const char *mark)
{
    bool found = false;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        char *path = xasprintf("/proc/%s/cmdline", e->d_name), line[4096];
        FILE *f = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        size_t n = f ? fread(line, 1, sizeof line, f) : 0;
        found |= n && memmem(line, n, mark, strlen(mark));
        if (f)
            fclose(f);
        free(path);
    }
    if (d)
        closedir(d);
    return found;
}

static void test_processes(void **state)
{
    (void)state;
    NEEDS_SANDBOX();
    /* it may have some, but not many */
    const char *count = "import os, time\nn = 0\ntry:\n    while n < 1000:\n        if os.fork() == 0:\n            time.sleep(60)\n            os._exit(0)\n"
                        "        n += 1\nexcept OSError:\n    pass\n";
    expect_near(holds("tests", "assert 1 < n < 32", count), 1, 0, "forks", 0);
    /* a bomb goes off within its walls, and nothing of it is left */
    char *mark = xasprintf("hone-bomb-%d", (int)getpid());
    char *bomb = xasprintf("import os\nos.execvp('sh', ['sh', '-c', ': %s; b() { b | b & b; }; b; sleep 100'])\n", mark);
    double start = seconds();
    expect_near(holds("tests:timeout=1", "assert True", bomb), 0, 0, "bomb", 0);
    assert_true(seconds() - start < 20);
    for (int i = 0; i < 50 && is_running(mark); i++)
        usleep(100000);
    assert_false(is_running(mark));
    /* nor of what was put aside */
    free(bomb);
    bomb = xasprintf("import subprocess\nsubprocess.Popen(['sh', '-c', ': %s; sleep 100; true'], start_new_session=True)\n", mark);
    expect_near(holds("tests", "assert True", bomb), 1, 0, "daemon", 0);
    for (int i = 0; i < 50 && is_running(mark); i++)
        usleep(100000);
    assert_false(is_running(mark));
    free(bomb);
    free(mark);
}

static void test_memory(void **state)
{
    (void)state;
    NEEDS_SANDBOX();
    expect_near(holds("tests:memory=200", "assert len(x) > 0", "x = bytearray(1 << 30)\n"), 0, 0, "hog", 0);
    expect_near(holds("tests:memory=200", "assert grown < 200", "x = []\ngrown = 0\ntry:\n    while True:\n        x.append(bytearray(1 << 20))\n"
                                                                "        grown += 1\nexcept MemoryError:\n    x = []\n"), 1, 0, "hog", 1);
    /* nor by files */
    expect_near(holds("tests", "assert full", "full = False\ntry:\n    for i in range(100):\n        with open(f'/tmp/{i}', 'wb') as f:\n"
                                              "            f.write(bytes(8 << 20))\nexcept OSError:\n    full = True\n"), 1, 0, "files", 0);
    expect_near(holds("tests", "assert not long", "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nlong = True\ntry:\n"
                                                  "    with open('/tmp/long', 'wb') as f:\n        f.write(bytes(17 << 20))\n"
                                                  "except OSError:\n    long = False\n"), 1, 0, "a long file", 0);
}

static void test_output(void **state)
{
    (void)state;
    NEEDS_SANDBOX();
    expect_near(holds("tests", "assert True", "for i in range(100000):\n    print('x' * 1000)\n"), 1, 0, "a hundred megabytes", 0);
    double start = seconds();
    expect_near(holds("tests", "assert True", "import os\nwhile True:\n    for fd in range(1, 20):\n        try:\n            os.write(fd, b'x' * 65536)\n"
                                              "        except OSError:\n            pass\n"), 0, 0, "flood", 0);
    assert_true(seconds() - start < 30);
}

static void test_network(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int door = socket(AF_INET, SOCK_STREAM, 0), guest = socket(AF_INET, SOCK_STREAM, 0);
    (void)state;
    NEEDS_SANDBOX();
    assert_true(bind(door, (struct sockaddr *)&at, size) == 0 && listen(door, 4) == 0 &&
                getsockname(door, (struct sockaddr *)&at, &size) == 0);
    assert_int_equal(connect(guest, (struct sockaddr *)&at, size), 0); /* from outside it is open */
    char *code = xasprintf("import socket\ndef reach(host, port):\n    try:\n        socket.create_connection((host, port), 2)\n        return True\n"
                           "    except OSError:\n        return False\nport = %d\n", ntohs(at.sin_port));
    expect_near(holds("tests", "assert reach('127.0.0.1', port)\nassert reach('192.0.2.1', 80)\nassert reach('localhost', port)", code), 0, 0,
                "network", 0);
    expect_near(holds("tests", "assert not reach('127.0.0.1', port)", code), 1, 0, "network", 1);
    free(code);
    close(door);
    close(guest);
}

static void test_files(void **state)
{
    (void)state;
    NEEDS_SANDBOX();
    char *here = realpath(".", NULL);
    const char *home = getenv("HOME");
    text_write("secret", "the key\n");
    char *code = xasprintf("import os\nhere, home = '%s', '%s'\ndef can_write(path):\n    try:\n        open(path, 'w').close()\n        return True\n"
                           "    except OSError:\n        return False\n", here, home && *home ? home : "/root");
    expect_near(holds("tests", "assert open(here + '/secret').read()\nassert os.path.exists(home)\nassert os.path.exists('/home')\n"
                               "assert os.path.exists('/etc/passwd')\nassert os.path.exists('/var')\nassert 'HONE' in os.environ\n"
                               "assert len(os.listdir('/tmp'))", code), 0, 0, "reading", 0);
    expect_near(holds("tests", "assert can_write('/usr/own')\nassert can_write('/own')\nassert can_write('/dev/own')\nassert can_write('/dev/shm/own')\n"
                               "assert can_write(here + '/own')\nassert can_write('/usr/bin/python3')", code), 0, 0, "writing", 0);
    expect_near(holds("tests", "assert can_write('/tmp/own')\nassert os.getuid() != 0 or here.startswith('/root')\n"
                               "assert len([p for p in os.listdir('/proc') if p.isdigit()]) < 8", code), 1, 0, "its own", 0);
    assert_false(is_there("own") || is_there("/usr/own"));
    free(code);
    free(here);
}

/* ---- refusals ---- */

static void expect_refusal(const char *spec, const char *fields, const char *what)
{
    struct rule rule;
    struct err err = {""};
    struct row row = {.line = 7, .fields = json_loads(fields, 0, NULL)};
    struct dataset data = {.path = (char[]){"rows"}, .rows = &row, .n = 1};
    int rc = rule_parse(&rule, spec, &err);
    if (rc == 0) {
        rc = rule_check(&rule, &data, &err);
        rule_release(&rule);
    }
    if (rc == 0 || !strstr(err.text, what))
        fail_msg("%s: no '%s' in: %s", spec, what, rc ? err.text : "nothing");
    json_decref(row.fields);
}

static void test_refuses(void **state)
{
    static const char *const row = "{\"tests\": \"assert 1\"}";
    (void)state;
    expect_refusal("tests:what=1", row, "'what=1' is not understood");
    expect_refusal("tests:score=half", row, "share or all");
    expect_refusal("tests:timeout=0", row, "whole number");
    expect_refusal("tests:memory=1.5", row, "whole number");
    expect_refusal("tests:jobs=many", row, "whole number");
    expect_refusal("tests:field=", row, "not understood");
    expect_refusal("tests:command=", row, "no program");
    expect_refusal("testing", row, "there is no rule");
    expect_refusal("tests", "{}", "'rows' line 7: there is no field \"tests\"");
    expect_refusal("tests", "{\"tests\": []}", "no field");
    expect_refusal("tests", "{\"tests\": [1]}", "no field");
    expect_refusal("tests", "{\"test\": \"x\"}", "no field");
    NEEDS_SANDBOX();
    expect_refusal("tests", "{\"tests\": [\"assert 1\", \"assert (\"]}", "line 7: its tests are not Python");
    expect_refusal("tests:command=no-such-program x", row, "no program 'no-such-program'");
    expect_refusal("tests:memory=1", row, "did not start");
}

/* Without bubblewrap, or without leave to make namespaces, nothing is run. */
static void test_no_sandbox(void **state)
{
    (void)state;
    char *path = xstrdup(getenv("PATH"));
    text_write("rows.jsonl", "{\"prompt\": \"a hall\", \"tests\": \"assert True\"}\n");
    setenv("PATH", "/nowhere", 1);
    expect_refusal("tests", "{\"tests\": \"assert 1\"}", "there is no bwrap");
    setenv("PATH", path, 1);
    struct ended e = run("mkdir -p fake && printf '#!/bin/sh\\n[ \"$1\" = --version ]\\n' >fake/bwrap && chmod -R a+rx . fake && PATH=$PWD/fake:$PATH "
                         "$HONE generate --model golden/models/llama --tokenizer tokenizer --prompts rows.jsonl --quiet --reward rule:tests");
    if (e.code != 1 || !strstr(e.err, "bwrap cannot make a sandbox here") || *e.out)
        fail_msg("ended with %d: %s%s", e.code, e.out, e.err);
    ended_release(&e);
    free(path);
}

/* ---- a run ---- */

#define GRPO                                                                                       \
    "$HONE grpo --model golden/models/llama --tokenizer tokenizer --lora-r 4 --quiet --train-data rows.jsonl --iterations 3 --save-steps 1 " \
    "--per-device-train-batch-size 2 --num-generations 4 --max-completion-length 8 --learning-rate 1e-2 "                 \
    "--reward 'rule:tests:command=sh' --reward rule:length:target=3 "

/* The tiny model writes no code: `sh` takes an answer that begins with # (or is empty) for one, and what it does not know for wrong. */
static void test_run(void **state)
{
    (void)state;
    NEEDS_SANDBOX();
    text_write("rows.jsonl", "{\"prompt\": \"a hall\", \"tests\": [\"true\", \"false\"]}\n{\"prompt\": \"the lamp\", \"tests\": [\"true\"]}\n"
                             "{\"prompt\": \"before\", \"tests\": \"exit 1\"}\n");
    run_ok(GRPO "--output-dir straight");
    json_t *lines = metrics_of("straight");
    for (size_t i = 0; i < 3; i++)
        assert_true(metric(lines, i, "rewards/tests/mean") >= 0 && metric(lines, i, "rewards/tests/mean") <= 1);
    json_decref(lines);
    run_and_kill_at_line(GRPO "--output-dir out", "out/metrics.jsonl", 1);
    run_ok(GRPO "--output-dir out --resume");
    expect_same_file("straight", "out", "metrics.jsonl");
    expect_same_file("straight/adapter", "out/adapter", "adapter_model.safetensors");
}

static int enter(void **state)
{
    if (sandbox_enter(state))
        return -1;
    write_tokenizer("tokenizer");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code),    cmocka_unit_test(test_scores),    cmocka_unit_test(test_cheats),
        cmocka_unit_test(test_batches), cmocka_unit_test(test_other_languages), cmocka_unit_test(test_time),
        cmocka_unit_test(test_processes), cmocka_unit_test(test_memory), cmocka_unit_test(test_output),
        cmocka_unit_test(test_network), cmocka_unit_test(test_files),     cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_no_sandbox), cmocka_unit_test(test_run),
    };
    return cmocka_run_group_tests(tests, enter, sandbox_leave);
}
