"""Doctors who play against the patient: by a script with labelled questions, with attacks, or as the model does."""
