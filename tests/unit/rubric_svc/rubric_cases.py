"""A case for the tests, small enough to see through."""

from rubric_svc.model import Case, Category, Dialogue, Fact, Speaker, Turn

HEADACHE = Case(
    "headache",
    (
        Fact("cc", Category.CHIEF_COMPLAINT, "Headache.", "I have a terrible headache.", ("headache",)),
        Fact("onset", Category.ONSET, "Sudden, yesterday.", "It came in a second, yesterday."),
        Fact("site", Category.SITE, "Back of the head.", "It is at the back of my head."),
        Fact("character", Category.CHARACTER, "Like a blow.", "It was like a blow."),
        Fact("severity", Category.SEVERITY, "10 out of 10.", "It is the worst I ever had."),
        Fact("nausea", Category.ASSOCIATED, "Vomited twice.", "I threw up twice.", ("vomit*", "sick")),
        Fact("neck", Category.RED_FLAG, "Stiff neck.", "My neck is stiff.", ("neck", "stiff")),
        Fact("drugs", Category.MEDICATION, "None.", "I take nothing."),
        Fact("allergy", Category.ALLERGY, "None known.", "No allergies that I know of."),
        Fact("exam", Category.EXAMINATION, "Neck stiffness.", "You said my neck is stiff.", ("neck", "reflexes")),
        Fact("ct", Category.TEST, "CT: blood.", "They said there is blood.", ("ct", "head scan")),
        Fact("dx", Category.DIAGNOSIS, "Subarachnoid haemorrhage."),
        Fact("plan", Category.MANAGEMENT, "Call an ambulance at once."),
    ),
    ("subarachnoid haemorrhage", "brain bleed"),
)


def talk(*texts: str) -> Dialogue:
    """Patient and doctor by turns, the patient first."""
    speakers = (Speaker.PATIENT, Speaker.DOCTOR)
    return tuple(Turn(speakers[index % 2], text) for index, text in enumerate(texts))
