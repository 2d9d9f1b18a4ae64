#include "util/style.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "util/textstats.h"

const char *const style_names[] = {[STYLE_LENGTH] = "length",
                                   [STYLE_LISTS] = "lists",
                                   [STYLE_BOLD] = "bold",
                                   [STYLE_HEADINGS] = "headings",
                                   [STYLE_EXCLAMATIONS] = "exclamations",
                                   [STYLE_QUESTION] = "question",
                                   0};

static bool is_item(const char *line)
{
    line += strspn(line, " \t");
    if (strchr("-*+", *line) && *line)
        return line[1] == ' ';
    if (!strncmp(line, "\xE2\x80\xA2", 3))
        return line[3] == ' ';
    size_t digits = strspn(line, "0123456789");
    return digits && digits < 4 && (line[digits] == '.' || line[digits] == ')') && line[digits + 1] == ' ';
}

static bool is_heading(const char *line)
{
    size_t n = strspn(line, "#");
    return n >= 1 && n <= 6 && line[n] == ' ';
}

/* Pairs of a mark of two characters. */
static double stretches(const char *text, const char *mark)
{
    double marks = 0;
    for (const char *at = text; (at = strstr(at, mark)); at += 2)
        marks++;
    return floor(marks / 2);
}

static bool ends_with_question(const char *text)
{
    size_t n = strlen(text);
    while (n && (isspace((unsigned char)text[n - 1]) || strchr("\"')]}*_", text[n - 1])))
        n--;
    return n && (text[n - 1] == '?' || (n >= 3 && !memcmp(text + n - 3, "\xEF\xBC\x9F", 3)));
}

void text_style(double x[STYLES], const char *text)
{
    double items = 0, headings = 0, exclamations = 0;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        items += is_item(line);
        headings += is_heading(line);
    }
    for (const char *at = text; *at; at++)
        exclamations += *at == '!';
    x[STYLE_LENGTH] = log1p((double)text_word_count(text));
    x[STYLE_LISTS] = log1p(items);
    x[STYLE_BOLD] = log1p(stretches(text, "**") + stretches(text, "__"));
    x[STYLE_HEADINGS] = log1p(headings);
    x[STYLE_EXCLAMATIONS] = log1p(exclamations);
    x[STYLE_QUESTION] = ends_with_question(text);
}
