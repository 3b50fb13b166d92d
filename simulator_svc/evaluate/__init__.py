"""How good a patient is: doctors who play consultations with it, and scorers that judge what it says."""
