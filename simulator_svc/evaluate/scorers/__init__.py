"""Judges of the patient's words. They know the case model and nothing else of the service; a test checks imports."""
