/* A report: one HTML file that needs nothing else, neither network nor a folder beside it.
 *
 *   struct report r;
 *   report_init(&r, "Run 12", "SmolLM2-135M, help desk");
 *   report_heading(&r, "Win rates");
 *   report_text(&r, "%zu prompts, greedy.", n);
 *   report_table(&r, "Against the base model", 2, (const char *[]){"Model", "Win rate"});
 *   report_cell(&r, REPORT_NEUTRAL, "%s", name);
 *   report_cell(&r, REPORT_GOOD, "%.2f", rate);
 *   report_table_end(&r);
 *   if (report_write(&r, "report.html", err)) ..
 *   report_release(&r);
 *
 * All text is plain and is escaped here; bytes that are not UTF-8 become U+FFFD.  Everything is
 * copied at the call.  Charts are drawn by Chart.js, which the file carries.  Their numbers stand
 * in a table below each: that is all there is where Chart.js was not there at build time or scripts
 * are off.  A number that is not finite leaves a gap.  Scripts that are not ours do not run
 * (content security policy), and nothing is loaded. */
#ifndef HONE_EVAL_REPORT_H
#define HONE_EVAL_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "util/stats.h"
#include "util/buf.h"
#include "util/err.h"

enum report_verdict { REPORT_NEUTRAL, REPORT_GOOD, REPORT_BAD };

struct report_cell {
    char *text;
    enum report_verdict verdict;
};

struct report {
    char *title, *subtitle;
    struct buf body;
    char **heading; /* for the contents */
    size_t headings, heading_capacity, charts;
    /* of the table in the making; the first `columns` cells are its header, 0 columns: none */
    char *caption;
    struct report_cell *cell;
    size_t columns, cells, cell_capacity;
    bool figures; /* in a run of report_figure() */
};

/* subtitle may be NULL. */
void report_init(struct report *r, const char *title, const char *subtitle);
void report_release(struct report *r);

void report_heading(struct report *r, const char *text);
void report_text(struct report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_note(struct report *r, enum report_verdict verdict, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A number that matters, large, with a line of small print (NULL: none).  Calls in a row stand side
 * by side. */
void report_figure(struct report *r, enum report_verdict verdict, const char *label,
                   const char *value, const char *note);

/* A table: caption (NULL: none) and header, then its cells row by row, then the end, with nothing
 * else between.  A column whose cells are all numbers ("12", "0.63 [0.58, 0.68]", "+3 %", or a
 * dash) is aligned to the right.  A cell that is good or bad is marked by colour and sign. */
void report_table(struct report *r, const char *caption, size_t columns, const char *const *header);
void report_cell(struct report *r, enum report_verdict verdict, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void report_table_end(struct report *r);

/* n points; lo and hi: (n), or both NULL: none. */
struct report_series {
    const char *name;
    const double *x, *y, *lo, *hi;
    size_t n;
};

/* y against x in the order of x, with a band from lo to hi: training curves. */
void report_line_chart(struct report *r, const char *title, const char *x_label,
                       const char *y_label, const struct report_series *series, size_t n);

/* Points joined in the order given, with whiskers from lo to hi: reward against KL. */
void report_xy_chart(struct report *r, const char *title, const char *x_label, const char *y_label,
                     const struct report_series *series, size_t n);

/* A bar a label, lying, with a whisker for its interval (none where lo or hi is NaN).  reference: a
 * line across, such as 0.5 for win rates; NaN: none. */
void report_bar_chart(struct report *r, const char *title, const char *value_label,
                      const char *const *labels, const struct interval *values, size_t n,
                      double reference);

/* Stated probability against what happened, with the diagonal where the two agree. */
void report_reliability(struct report *r, const char *title, const struct calibration *c);

/* A prompt and n answers beside each other.  note: a line above the answer, or NULL. */
struct report_answer {
    const char *name, *text, *note;
    enum report_verdict verdict;
};
void report_side_by_side(struct report *r, const char *prompt, const struct report_answer *answers,
                         size_t n);

/* The whole file: appended to `out`, or written to `path` (atomically).  Returns -1 if it is larger
 * than 256 MiB (or than the ceiling of `out`), or cannot be written. */
int report_html(struct report *r, struct buf *out, struct err *err);
int report_write(struct report *r, const char *path, struct err *err);

#endif
