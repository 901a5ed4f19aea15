/* A guess at a text's language: by its script, and among Latin ones by their commonest words. */
#pragma once

#include "base/str.h"

/* BCP 47: "en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "fi", "pl", "tr", "ru", "uk",
 * "el", "he", "ar", "hi", "th", "ja", "ko", "zh"; "" when there is too little to say. text is valid
 * UTF-8; at most its first 16 KiB are looked at. Static string; any thread. */
const char *text_language(struct str text);
