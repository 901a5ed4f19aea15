/* What comes behind a piece of a text that grows (flow.h, json_text.h). */
#pragma once

enum text_then {
    TEXT_GOES_ON,
    TEXT_ENDS,
    TEXT_PAUSES /* perhaps nothing: it is judged as if it ended here, and may go on all the same, in
                   the middle of a word or a number, too */
};
