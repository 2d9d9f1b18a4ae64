/* The style of an answer in numbers: what a reward model may have come to like for its own sake (length: Singhal et al. 2023, "A long
 * way to go"; markdown and tone: Chiang et al. 2024, style control in Chatbot Arena).
 *
 *     length         ln(1 + words)
 *     lists          ln(1 + lines that begin with -, *, + or a bullet, or with a number and . or ), and a space)
 *     bold           ln(1 + stretches between ** and **, or __ and __)
 *     headings       ln(1 + lines that begin with one to six # and a space)
 *     exclamations   ln(1 + exclamation marks)
 *     question       1 where it ends with a question mark, closing quotes and brackets aside, else 0
 *
 * Logarithms, because the second item of a list changes more than the tenth. */
#ifndef HONE_UTIL_STYLE_H
#define HONE_UTIL_STYLE_H

enum style_feature { STYLE_LENGTH, STYLE_LISTS, STYLE_BOLD, STYLE_HEADINGS, STYLE_EXCLAMATIONS, STYLE_QUESTION, STYLES };
extern const char *const style_names[]; /* in the order of the enum, then NULL */

void text_style(double x[STYLES], const char *text);

#endif
